//! Names of environment variables: the key that a variable sets, and warnings about unknown ones.

use super::nearest::nearest;

/// The prefix of all variables.
pub(crate) const ENV_PREFIX: &str = "IDLEWILD_";
/// The variables of the raw API key. If both are set, the first counts. An empty one counts as unset:
/// compose files set `${KEY:-}`, which must not hide the other one.
pub(crate) const API_KEY_VARIABLES: [&str; 2] = ["IDLEWILD_ADMIN__API_KEY", "IDLEWILD_API_KEY"];
/// The second one without the prefix.
pub(super) const SHORT_API_KEY: &str = "API_KEY";

/// Returns true if this is a variable of the raw API key, and blank.
pub(super) fn is_empty_api_key(name: &str, value: &str) -> bool {
    API_KEY_VARIABLES.contains(&name) && value.trim().is_empty()
}

/// The dotted path for a name without its prefix, even if there is no such key.
pub(super) fn path(rest: &str) -> String {
    if rest == SHORT_API_KEY {
        return "admin.api_key".to_owned();
    }
    rest.to_ascii_lowercase().replace("__", ".")
}

/// Warnings about the variables among `names` that set no key. They are usually harmless, since
/// orchestrators name variables after services.
pub(super) fn unknown<'a>(
    names: impl Iterator<Item = &'a str>,
    known: &[String],
) -> impl Iterator<Item = String> {
    let mut links = Vec::new();
    let mut lines = Vec::new();
    for name in names {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let path = path(rest);
        if known.contains(&path) {
            continue;
        }
        if is_service_link(rest) {
            links.push(name);
            continue;
        }
        let meant = nearest(&path, known.iter().map(String::as_str)).map(of_path);
        lines.push(format!(
            "{name}: unknown variable, ignored; the nearest is {}",
            meant.unwrap_or_default()
        ));
    }
    if let Some(first) = links.first() {
        let meant = of_path(
            nearest(
                &path(&first[ENV_PREFIX.len()..]),
                known.iter().map(String::as_str),
            )
            .unwrap_or_default(),
        );
        lines.push(format!(
            "{first}: unknown variable, ignored, as are {} more of the kind that Kubernetes sets for a service (enableServiceLinks: false turns them off); the nearest is {meant}",
            links.len() - 1
        ));
    }
    lines.into_iter()
}

/// The variable that sets a key.
fn of_path(path: &str) -> String {
    let name = path.replace('.', "__").to_ascii_uppercase();
    format!("{ENV_PREFIX}{name}")
}

/// Returns true for names that Kubernetes, or Docker's links, set for a service: `PORT`,
/// `PORT_8000_TCP_ADDR`, `ADMIN_SERVICE_HOST`.
fn is_service_link(rest: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    (0..words.len()).any(|start| match words.get(start..) {
        Some(["PORT"] | ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..]) => true,
        Some(["PORT", number, "TCP" | "UDP" | "SCTP", rest @ ..]) => {
            is_number(number) && matches!(rest, [] | ["PROTO" | "PORT" | "ADDR"])
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(names: &[&str]) -> Vec<String> {
        let known = ["admin.api_key", "auth.secret", "max_connections", "shards"];
        let known = known.map(ToOwned::to_owned);
        unknown(names.iter().copied(), &known).collect()
    }

    #[test]
    fn an_unknown_variable_is_reported_with_the_nearest() {
        let lines = lines(&["IDLEWILD_AUTH_SECRET", "IDLEWILD_SHARDS", "PATH"]);
        let [line] = lines.as_slice() else {
            panic!("{lines:?}");
        };
        assert!(line.starts_with("IDLEWILD_AUTH_SECRET: "), "{line}");
        assert!(line.ends_with(" IDLEWILD_AUTH__SECRET"), "{line}");
    }

    #[test]
    fn variables_of_an_orchestrator_are_reported_in_one_line() {
        let links = [
            "IDLEWILD_SERVICE_HOST",
            "IDLEWILD_SERVICE_PORT",
            "IDLEWILD_SERVICE_PORT_HTTP",
            "IDLEWILD_PORT",
            "IDLEWILD_PORT_8000_TCP",
            "IDLEWILD_PORT_8000_TCP_ADDR",
            "IDLEWILD_ADMIN_SERVICE_HOST",
            "IDLEWILD_ADMIN_PORT_8001_TCP_PROTO",
        ];
        let lines = lines(&links);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("7 more") && lines[0].contains("enableServiceLinks"));
    }

    #[test]
    fn the_short_name_of_the_api_key_is_known() {
        assert_eq!(lines(&API_KEY_VARIABLES), Vec::<String>::new());
        assert_eq!(path("AUTH__SECRET"), "auth.secret");
    }
}
