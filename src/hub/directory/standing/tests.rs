use super::*;
use crate::event::UserId;
use proptest::prelude::*;

const LEEWAY_MS: u64 = 5_000;
const LIFE_MS: u64 = 1_000_000;
const RULES: Rules = Rules {
    leeway_ms: LEEWAY_MS,
    max_token_life_ms: LIFE_MS,
};

/// One user's changes, one after the other.
#[derive(Default)]
struct User(Option<Standing>);

impl User {
    fn change(&mut self, keep: Option<&str>, wall_ms: u64, log_ms: u64) {
        let change = SessionChange {
            user: UserId::new("1").unwrap(),
            keep: keep.map(Into::into),
            at_unix_ms: wall_ms,
        };
        let standing = Standing::after(&change, log_ms, self.0.as_ref(), RULES);
        // As a durable engine reads it after a restart.
        let row = serde_json::to_string(&standing).unwrap();
        let read: Standing = serde_json::from_str(&row).unwrap();
        assert_eq!(read, standing, "{row}");
        self.0 = Some(read);
    }

    fn name(&mut self, session: &str, at_ms: u64) {
        self.change(Some(session), at_ms, at_ms);
    }

    fn log_out(&mut self, at_ms: u64) {
        self.change(None, at_ms, at_ms);
    }

    fn allows(&self, session: impl Into<Option<&'static str>>, iat_ms: u64) -> bool {
        let issued = Some(IssuedAt::from_unix_ms(iat_ms));
        let standing = self.0.as_ref();
        standing.is_none_or(|standing| standing.allows(session.into(), issued))
    }

    fn allows_without_iat(&self, session: &str) -> bool {
        let standing = self.0.as_ref();
        standing.is_none_or(|standing| standing.allows(Some(session), None))
    }
}

#[test]
fn a_login_after_a_log_out_works_even_if_the_issuers_clock_is_slow() {
    let mut user = User::default();
    user.name("a", 100_000);
    user.log_out(200_500);
    user.name("b", 200_600);
    // The issuer's clock is 4.6 s slow, and tokens state whole seconds.
    assert!(user.allows("b", 196_000) && user.allows("b", 195_000));
    assert!(!user.allows("b", 194_999) && !user.allows("b", 100_500));
    assert!(user.allows_without_iat("b"));
    assert!(!user.allows("a", 250_000));
}

#[test]
fn a_session_that_is_named_again_takes_only_tokens_from_after_the_log_out() {
    let mut user = User::default();
    user.name("a", 100_000);
    user.log_out(200_000);
    user.name("a", 201_000);
    for iat_ms in [100_000, 199_000, 200_000, 203_000, 205_000] {
        assert!(!user.allows("a", iat_ms), "{iat_ms}");
    }
    assert!(!user.allows_without_iat("a"));
    assert!(user.allows("a", 205_001));
    // The same holds after another session, another log-out, and both.
    user.name("b", 202_000);
    user.name("a", 203_000);
    assert!(!user.allows("a", 205_000) && user.allows("a", 205_001));
    user.name("b", 204_000);
    user.log_out(204_500);
    user.log_out(204_600);
    user.name("a", 204_700);
    assert!(!user.allows("a", 205_000) && !user.allows_without_iat("a"));
    assert!(user.allows("a", 205_001));
}

#[test]
fn naming_the_current_session_again_changes_nothing() {
    let mut user = User::default();
    user.name("a", 100_000);
    user.log_out(200_000);
    user.name("b", 300_000);
    let before = user.0.clone();
    user.name("b", 400_000);
    assert_eq!(user.0, before);
    assert!(user.allows("b", 200_000) && user.allows_without_iat("b"));
    assert!(user.allows(None, 300_001) && !user.allows(None, 300_000));
}

#[test]
fn a_session_that_was_only_replaced_is_unchanged_when_it_is_named_again() {
    let mut user = User::default();
    user.name("a", 100_000);
    user.name("b", 200_000);
    assert!(!user.allows("a", 150_000));
    user.name("a", 300_000);
    assert!(user.allows("a", 50_000) && user.allows_without_iat("a"));
    // A log-out covers it as well.
    user.name("b", 400_000);
    user.log_out(500_000);
    user.name("a", 600_000);
    assert!(!user.allows("a", 450_000) && !user.allows_without_iat("a"));
    assert!(user.allows("a", 500_000));
}

#[test]
fn a_log_out_while_the_clock_is_slow_covers_what_came_before_it() {
    let mut user = User::default();
    user.name("a", 10_000_000);
    // The clock is an hour slow; ids continue from where they were.
    user.change(None, 6_400_000, 10_000_000);
    assert!(!user.allows(None, 10_000_000) && user.allows(None, 10_000_001));
    user.name("a", 6_500_000);
    assert!(!user.allows("a", 8_200_000) && !user.allows("a", 10_000_000));
    user.name("b", 10_100_000);
    assert!(!user.allows("b", 8_200_000) && user.allows("b", 9_995_000));
}

#[test]
fn a_clock_that_was_fast_does_not_keep_a_new_session_out_later() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
    let mut user = User::default();
    user.name("a", DAY_MS);
    user.log_out(3 * DAY_MS);
    // The clock is right again, but ids are ahead of it.
    user.change(Some("b"), 2 * DAY_MS, 3 * DAY_MS);
    assert!(user.allows("b", 2 * DAY_MS - LEEWAY_MS) && !user.allows("b", DAY_MS));
    assert!(!user.allows(None, 2 * DAY_MS + 1_000));
    user.name("c", 2 * DAY_MS + 5_000);
    user.name("b", 2 * DAY_MS + 60_000);
    assert!(user.allows("b", 2 * DAY_MS));
}

#[test]
fn tokens_that_name_no_session_never_become_valid_again() {
    let mut user = User::default();
    user.log_out(500_000);
    // The clock was set back.
    user.change(Some("a"), 300_000, 500_000);
    user.change(None, 400_000, 500_000);
    assert!(!user.allows(None, 500_000) && user.allows(None, 500_001));
}

#[test]
fn a_row_of_an_earlier_version_keeps_its_meaning() {
    let read = |json| User(Some(serde_json::from_str(json).unwrap()));
    let user = read(r#"{"current":"mine","changed_at_ms":300000,"logged_out_at_ms":200500}"#);
    assert!(user.allows("mine", 200_000) && !user.allows("mine", 199_999));
    assert!(!user.allows("other", 400_000));
    assert!(user.allows(None, 300_001) && !user.allows(None, 300_000));
    let user = read(r#"{"current":null,"changed_at_ms":200000,"logged_out_at_ms":200000}"#);
    assert!(user.allows("mine", 200_001) && !user.allows("mine", 200_000));
}

#[test]
fn a_row_is_short() {
    let mut user = User::default();
    user.name(&"a session's name ".repeat(10), 1_700_000_000_000);
    let row = |user: &User| serde_json::to_string(&user.0).unwrap();
    assert!(row(&user).len() < 80, "{}", row(&user));
    for n in 0..100 {
        user.name(&format!("session {n}"), 1_700_000_000_000 + n);
        user.log_out(1_700_000_000_000 + n);
    }
    assert!(row(&user).len() < 500, "{}", row(&user));
}

#[test]
fn a_standing_is_over_when_the_last_earlier_token_has_expired() {
    let mut user = User::default();
    user.name("a", 100_000);
    user.log_out(200_000);
    let over_ms = 200_000 + LIFE_MS + 2 * LEEWAY_MS + 1_000;
    assert!(!user.0.as_ref().unwrap().is_over(over_ms, RULES));
    assert!(user.0.as_ref().unwrap().is_over(over_ms + 1, RULES));
    // A current session stays, but the sessions before it do not.
    user.name("b", 300_000);
    let mut standing = user.0.unwrap();
    assert!(standing.fade(300_000 + LIFE_MS, RULES));
    assert_ne!(standing.past, PastSessions::default());
    assert!(standing.fade(u64::MAX, RULES) && standing.names("b"));
    assert_eq!(standing.past, PastSessions::default());
}

#[test]
fn a_token_without_iat_stays_revoked_however_many_sessions_came_after_it() {
    for (count, are_logged_out) in [(3, false), (12, false), (12, true), (60, true)] {
        let mut user = User::default();
        user.name("a", 100_000);
        for n in 0..count {
            if are_logged_out {
                user.log_out(100_500 + n);
            }
            user.name(&format!("{n}"), 100_500 + n);
        }
        user.log_out(101_000);
        user.name("a", 101_100);
        assert!(!user.allows_without_iat("a"), "{count}, {are_logged_out}");
        // This one is within the leeway of the log-out that revoked it.
        if are_logged_out {
            assert!(!user.allows("a", 100_400));
        }
        assert!(user.allows("a", 110_000));
    }
    // A session that was forgotten just before older traces are dropped keeps its trace.
    let mut user = User::default();
    user.log_out(10);
    let mut at_ms = 2 * LIFE_MS;
    for session in ["first", "a"] {
        user.name(session, at_ms);
        user.log_out(at_ms);
        for n in 0..8 {
            user.name(&format!("{session}{n}"), at_ms);
            user.log_out(at_ms);
        }
        at_ms += LIFE_MS * 9 / 10;
    }
    for n in 0..2 {
        user.name(&format!("last{n}"), at_ms);
        user.log_out(at_ms);
        at_ms += LIFE_MS / 100;
    }
    user.name("a", at_ms);
    assert!(!user.allows_without_iat("a"));
    // A session that was never logged out is unchanged, and so is one that is new.
    let mut user = User::default();
    user.log_out(90_000);
    for session in ["a", "b", "c", "d", "e", "a", "new"] {
        user.name(session, 100_000);
        assert!(user.allows_without_iat(session));
    }
    // The traces of forgotten sessions do not fill up for ever.
    let mut at_ms = 200_000;
    for _ in 0..2_000 {
        user.name(&format!("{at_ms}"), at_ms);
        user.log_out(at_ms + 1);
        at_ms += LIFE_MS / 4;
    }
    user.name("another", at_ms);
    assert!(user.allows_without_iat("another"));
}

#[derive(Clone, Debug)]
enum Step {
    Name {
        session: u8,
    },
    LogOut,
    /// Issues a token by a clock that is off by `skew_ms`.
    Issue {
        session: u8,
        skew_ms: i64,
        detail: Detail,
    },
}

/// How precisely a token states when it was issued.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Detail {
    Milliseconds,
    Seconds,
    Nothing,
}

#[derive(Debug)]
struct Token {
    session: Option<&'static str>,
    /// When it was really issued.
    issued_ms: u64,
    iat_ms: Option<u64>,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let leeway = i64::try_from(LEEWAY_MS).unwrap();
    let detail = prop::sample::select(vec![Detail::Milliseconds, Detail::Seconds, Detail::Nothing]);
    let issue =
        (0..5_u8, -leeway..=leeway, detail).prop_map(|(session, skew_ms, detail)| Step::Issue {
            session,
            skew_ms,
            detail,
        });
    let step = prop_oneof![
        3 => (1..5_u8).prop_map(|session| Step::Name { session }),
        2 => Just(Step::LogOut),
        5 => issue,
    ];
    // Most steps are within the leeway of each other.
    (prop_oneof![4 => 1..4_000_u64, 1 => 4_000..60_000_u64], step)
}

fn session(number: u8) -> Option<&'static str> {
    [None, Some("a"), Some("b"), Some("c"), Some("d")][usize::from(number)]
}

/// The model: a list of all changes, searched in full each time.
#[derive(Debug, Default)]
struct Model {
    /// Each change that had an effect, as (time, session before, session after).
    changes: Vec<(u64, Option<&'static str>, Option<&'static str>)>,
}

impl Model {
    fn current(&self) -> Option<&'static str> {
        self.changes.last().and_then(|(_, _, keep)| *keep)
    }

    fn change(&mut self, at_ms: u64, keep: Option<&'static str>) {
        if keep.is_none() || self.current() != keep {
            self.changes.push((at_ms, self.current(), keep));
        }
    }

    fn last_log_out_ms(&self) -> Option<u64> {
        let log_outs = self.changes.iter().filter(|(_, _, keep)| keep.is_none());
        log_outs.map(|(at_ms, _, _)| *at_ms).next_back()
    }

    /// The time of the last log-out at which the session was current.
    fn logged_out_ms(&self, session: &str) -> Option<u64> {
        let mut changes = self.changes.iter().rev();
        changes
            .find(|(_, before, keep)| keep.is_none() && *before == Some(session))
            .map(|(at_ms, _, _)| *at_ms)
    }

    fn must_be_refused(&self, token: &Token) -> bool {
        let Some((changed_ms, _, _)) = self.changes.last() else {
            return false;
        };
        let (Some(session), Some(current)) = (token.session, self.current()) else {
            return token.iat_ms.is_none_or(|iat_ms| iat_ms <= *changed_ms);
        };
        // A token that a log-out revoked never becomes valid again.
        let is_revoked = self
            .logged_out_ms(session)
            .is_some_and(|at_ms| token.issued_ms <= at_ms);
        let is_old = self.last_log_out_ms().is_some_and(|at_ms| {
            let iat_ms = token.iat_ms.unwrap_or(u64::MAX);
            iat_ms.saturating_add(LEEWAY_MS + 1_000) <= at_ms
        });
        session != current || is_revoked || is_old
    }

    fn must_be_accepted(&self, token: &Token) -> bool {
        let Some((changed_ms, _, _)) = self.changes.last() else {
            return true;
        };
        let (Some(session), Some(current)) = (token.session, self.current()) else {
            return token.iat_ms.is_some_and(|iat_ms| iat_ms > *changed_ms);
        };
        let Some(log_out_ms) = self.last_log_out_ms() else {
            return session == current;
        };
        // Really issued after the log-out, whatever the issuer's clock says within the leeway.
        let is_new = match self.logged_out_ms(session) {
            Some(at_ms) => token
                .iat_ms
                .is_some_and(|iat_ms| iat_ms > at_ms + LEEWAY_MS),
            None => token.iat_ms.is_some() || !self.had(session, log_out_ms),
        };
        session == current && token.issued_ms >= log_out_ms && is_new
    }

    /// Returns true if the session was current at some time before.
    fn had(&self, session: &str, before_ms: u64) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|(at_ms, _, keep)| *at_ms < before_ms && *keep == Some(session))
    }
}

proptest! {
    #[test]
    fn a_standing_agrees_with_the_list_of_all_changes(steps in prop::collection::vec(step(), 1..60)) {
        let (mut user, mut model) = (User::default(), Model::default());
        let mut tokens: Vec<Token> = Vec::new();
        let mut now_ms = 1_000_000;
        for (later_ms, step) in steps {
            now_ms += later_ms;
            match step {
                Step::Name { session: number } => {
                    user.change(session(number), now_ms, now_ms);
                    model.change(now_ms, session(number));
                }
                Step::LogOut => {
                    user.log_out(now_ms);
                    model.change(now_ms, None);
                }
                Step::Issue { session: number, skew_ms, detail } => {
                    let iat_ms = now_ms.checked_add_signed(skew_ms).unwrap();
                    tokens.push(Token {
                        session: session(number),
                        issued_ms: now_ms,
                        iat_ms: match detail {
                            Detail::Milliseconds => Some(iat_ms),
                            Detail::Seconds => Some(second_of(iat_ms)),
                            Detail::Nothing => None,
                        },
                    });
                }
            }
            for token in &tokens {
                let issued = token.iat_ms.map(IssuedAt::from_unix_ms);
                let is_allowed = user
                    .0
                    .as_ref()
                    .is_none_or(|standing| standing.allows(token.session, issued));
                let (refuse, accept) = (model.must_be_refused(token), model.must_be_accepted(token));
                prop_assert!(!(refuse && accept), "the model contradicts itself: {token:?}");
                prop_assert!(!(refuse && is_allowed), "accepted: {token:?} {model:?}");
                prop_assert!(!accept || is_allowed, "refused: {token:?} {model:?}");
            }
        }
    }
}
