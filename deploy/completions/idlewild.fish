# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_idlewild_global_optspecs
    string join \n h/help V/version
end

function __fish_idlewild_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_idlewild_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_idlewild_using_subcommand
    set -l cmd (__fish_idlewild_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c idlewild -n "__fish_idlewild_needs_command" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_needs_command" -s V -l version -d 'Print version'
complete -c idlewild -n "__fish_idlewild_needs_command" -f -a "serve" -d 'Serve until SIGTERM'
complete -c idlewild -n "__fish_idlewild_needs_command" -f -a "check" -d 'Check a configuration and print all of it'
complete -c idlewild -n "__fish_idlewild_needs_command" -f -a "token" -d 'Print a token for a user, or make an API key'
complete -c idlewild -n "__fish_idlewild_needs_command" -f -a "publish" -d 'Publish an event to a running server'
complete -c idlewild -n "__fish_idlewild_needs_command" -f -a "health" -d 'Check whether a running server is ready; exit code 1 if not'
complete -c idlewild -n "__fish_idlewild_needs_command" -f -a "upgrade" -d 'Hand a running server\'s clients over to another program, without a disconnect'
complete -c idlewild -n "__fish_idlewild_needs_command" -f -a "user" -d 'Manage the users of the built-in login'
complete -c idlewild -n "__fish_idlewild_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c idlewild -n "__fish_idlewild_needs_command" -f -a "man" -d 'Write the manual pages into a directory'
complete -c idlewild -n "__fish_idlewild_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l config -d 'TOML file; every key can also be an IDLEWILD_… variable' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l listen -d 'Public listeners: IP addresses, or "unix:/run/idlewild/public.sock"; no host names; may be repeated' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l admin-listen -d 'Admin listeners; never reachable from outside; may be repeated' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l base-path -d 'Prefix of the public routes' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l shards -d 'Threads that hold streams; 0 = one per core' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l max-connections -d 'Streams at once; each needs a descriptor' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l heartbeat -d 'Silence after which a stream gets a heartbeat' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l fd-tables -d 'Descriptor tables of the shards: "shared", or "per-shard": nofile then limits each shard' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l log-level -d 'error, warn, info, debug, trace' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l log-format -d '"text" or "json"' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l dev -d 'For development: generates the secrets that are not configured, keeps them in .idlewild-dev, and serves a demo page at / of the public listener. Prints the addresses, the API key and a call that publishes. Unless a secret is configured, user@example.com can log in with the password `password`'
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -l dev-anywhere -d 'Allow --dev to listen on addresses that other machines can reach'
complete -c idlewild -n "__fish_idlewild_using_subcommand serve" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand check" -l config -d 'TOML file; every key can also be an IDLEWILD_… variable' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand check" -l dev -d 'Make up missing secrets, as `serve --dev` does'
complete -c idlewild -n "__fish_idlewild_using_subcommand check" -l engine -d 'Also try the engine: connect to Redis as `serve` would, and check rights, version and settings'
complete -c idlewild -n "__fish_idlewild_using_subcommand check" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and not __fish_seen_subcommand_from api-key help" -l config -d 'TOML file; every key can also be an IDLEWILD_… variable' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and not __fish_seen_subcommand_from api-key help" -l user -d 'The user that the token is for' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and not __fish_seen_subcommand_from api-key help" -l session -d 'The session that the token belongs to' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and not __fish_seen_subcommand_from api-key help" -l topics -d 'Topics and patterns that the token allows' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and not __fish_seen_subcommand_from api-key help" -l ttl -d 'How long the token is valid' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and not __fish_seen_subcommand_from api-key help" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and not __fish_seen_subcommand_from api-key help" -f -a "api-key" -d 'Print a new API key and the configuration that accepts it'
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and not __fish_seen_subcommand_from api-key help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and __fish_seen_subcommand_from api-key" -l name -d 'Who will use it; this name appears in the log' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and __fish_seen_subcommand_from api-key" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "api-key" -d 'Print a new API key and the configuration that accepts it'
complete -c idlewild -n "__fish_idlewild_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l user -d 'Send it to one user' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l users -d 'Send it to several users' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l topic -d 'Send it to the subscribers of a topic' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l event -d 'The event\'s name' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l id -d 'Your own id; an event with the same id is published only once in ten minutes' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l data -d 'JSON, or text that is sent as it is; `-` reads standard input, without its last newline' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l url -d 'The admin listener, http://host:port or unix:/path' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l api-key -d 'The API key; default: IDLEWILD_ADMIN__API_KEY or IDLEWILD_API_KEY' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l api-key-file -d 'A file with the API key, which then appears neither in the list of processes nor in the shell\'s history' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l all -d 'Send it to all clients'
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l no-persist -d 'Send it only to connected clients; it is not replayed'
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -l string -d 'Send the data as text even if it is JSON'
complete -c idlewild -n "__fish_idlewild_using_subcommand publish" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand health" -l url -d 'The admin listener, http://host:port or unix:/path' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand health" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand upgrade" -l config -d 'TOML file; every key can also be an IDLEWILD_… variable' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand upgrade" -l control -d 'The server\'s control socket; default: `control` of the configuration, or else /run/idlewild/control.sock' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand upgrade" -l binary -d 'The program to hand over to; default: the one that is now at the path of the running one' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand upgrade" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and not __fish_seen_subcommand_from add list passwd remove help" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and not __fish_seen_subcommand_from add list passwd remove help" -f -a "add" -d 'Add a user to a file; the password is one line of standard input'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and not __fish_seen_subcommand_from add list passwd remove help" -f -a "list" -d 'Print a line per user: the id, a tab, and the email address'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and not __fish_seen_subcommand_from add list passwd remove help" -f -a "passwd" -d 'Change a user\'s password, which is one line of standard input'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and not __fish_seen_subcommand_from add list passwd remove help" -f -a "remove" -d 'Remove a user from a file. Tokens of the user remain valid until they expire'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and not __fish_seen_subcommand_from add list passwd remove help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from add" -l file -d 'The file that `login.users_file` names; `add` creates it if it does not exist. A running server reads it at its next start' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from add" -l email -d 'The email address that the user logs in with' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from add" -l id -d 'The user\'s id; the next number by default' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from list" -l file -d 'The file that `login.users_file` names; `add` creates it if it does not exist. A running server reads it at its next start' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from passwd" -l file -d 'The file that `login.users_file` names; `add` creates it if it does not exist. A running server reads it at its next start' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from passwd" -l email -d 'The email address that the user logs in with' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from passwd" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from remove" -l file -d 'The file that `login.users_file` names; `add` creates it if it does not exist. A running server reads it at its next start' -r -F
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from remove" -l email -d 'The email address that the user logs in with' -r
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add a user to a file; the password is one line of standard input'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "list" -d 'Print a line per user: the id, a tab, and the email address'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "passwd" -d 'Change a user\'s password, which is one line of standard input'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Remove a user from a file. Tokens of the user remain valid until they expire'
complete -c idlewild -n "__fish_idlewild_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c idlewild -n "__fish_idlewild_using_subcommand completions" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand man" -s h -l help -d 'Print help'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and not __fish_seen_subcommand_from serve check token publish health upgrade user completions man help" -f -a "serve" -d 'Serve until SIGTERM'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and not __fish_seen_subcommand_from serve check token publish health upgrade user completions man help" -f -a "check" -d 'Check a configuration and print all of it'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and not __fish_seen_subcommand_from serve check token publish health upgrade user completions man help" -f -a "token" -d 'Print a token for a user, or make an API key'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and not __fish_seen_subcommand_from serve check token publish health upgrade user completions man help" -f -a "publish" -d 'Publish an event to a running server'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and not __fish_seen_subcommand_from serve check token publish health upgrade user completions man help" -f -a "health" -d 'Check whether a running server is ready; exit code 1 if not'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and not __fish_seen_subcommand_from serve check token publish health upgrade user completions man help" -f -a "upgrade" -d 'Hand a running server\'s clients over to another program, without a disconnect'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and not __fish_seen_subcommand_from serve check token publish health upgrade user completions man help" -f -a "user" -d 'Manage the users of the built-in login'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and not __fish_seen_subcommand_from serve check token publish health upgrade user completions man help" -f -a "completions" -d 'Print the completions for a shell'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and not __fish_seen_subcommand_from serve check token publish health upgrade user completions man help" -f -a "man" -d 'Write the manual pages into a directory'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and not __fish_seen_subcommand_from serve check token publish health upgrade user completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "api-key" -d 'Print a new API key and the configuration that accepts it'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "add" -d 'Add a user to a file; the password is one line of standard input'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "list" -d 'Print a line per user: the id, a tab, and the email address'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "passwd" -d 'Change a user\'s password, which is one line of standard input'
complete -c idlewild -n "__fish_idlewild_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "remove" -d 'Remove a user from a file. Tokens of the user remain valid until they expire'
