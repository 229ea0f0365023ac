//! The scripts that run in the store. Each is one atomic step. What keeps the nodes together, and session changes, also
//! run when Redis has used up its memory (`allow-oom`): they take up little, and the beat trims the log.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($(#[doc = $doc:literal] $name:ident = $file:literal;)*) => {
        $(
            #[doc = $doc]
            pub(super) static $name: LazyLock<Script> =
                LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $file))));
        )*
    };
}

script! {
    /// Compares what a node knows with what the store has.
    ATTACH = "attach.lua";
    /// Appends a numbered group of entries.
    PUBLISH = "publish.lua";
    /// Stores a session change.
    SESSION = "session.lua";
    /// Writes back standings that the store has lost.
    ADOPT = "adopt.lua";
    /// Removes standings that are over.
    PRUNE = "prune.lua";
    /// A node's sign of life.
    BEAT = "beat.lua";
    /// What a node says of itself between two beats.
    REPORT = "report.lua";
    /// Asks the other nodes.
    ASK = "ask.lua";
    /// Answers a question of another node.
    ANSWER = "answer.lua";
    /// States a user's connections to one node, and grants places.
    PLACES = "places.lua";
    /// What the live nodes say of themselves.
    NODES = "nodes.lua";
    /// Notes a ticket among its user's.
    NOTE_TICKET = "note_ticket.lua";
    /// Counts a login as failed in advance.
    BEGIN_LOGIN = "begin_login.lua";
    /// Takes that back.
    FORGIVE_LOGIN = "forgive_login.lua";
}
