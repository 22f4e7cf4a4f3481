//! What the exporter has, by path and method.

use crate::transport::http::{Audience, Method, StatusCode};

/// What is allowed on each of its paths, as an `Allow` header says it.
pub(super) const METHODS: &str = "GET, HEAD, OPTIONS";

/// The one for the server as a whole (RFC 9110, section 9.3.7).
const WHOLE_SERVER: &str = "*";

/// What a path shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Index,
    Metrics,
    Healthy,
    Ready,
}

use Content::{Healthy, Index, Metrics, Ready};

/// Every path, what it shows, and whether it is a probe.
const ROUTES: [(&str, Content, bool); 4] = [
    ("/", Index, false),
    ("/metrics", Metrics, false),
    ("/-/healthy", Healthy, true),
    ("/-/ready", Ready, true),
];

/// Who may ask the probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probes {
    /// Those who may have the metrics.
    #[default]
    Guarded,
    /// Those whose address is allowed, without a token.
    Allow,
    /// Anybody.
    All,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Content(Content),
    /// What could be asked for.
    Methods,
}

fn route(path: &str) -> Option<(Content, bool)> {
    let found = ROUTES.iter().find(|(other, ..)| *other == path);
    found.map(|(_, content, is_probe)| (*content, *is_probe))
}

/// What a request asks for, or why there is nothing.
pub(super) fn find(method: &Method, path: &str) -> Result<Asked, StatusCode> {
    let content = route(path).map(|(content, _)| content);
    match (*method == Method::OPTIONS, content) {
        (true, Some(_)) => Ok(Asked::Methods),
        (true, None) if path == WHOLE_SERVER => Ok(Asked::Methods),
        (_, None) => Err(StatusCode::NOT_FOUND),
        (false, Some(content)) if [Method::GET, Method::HEAD].contains(method) => Ok(Asked::Content(content)),
        (false, Some(_)) => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// Who may ask for this path.
pub(super) fn audience(path: &str, probes: Probes) -> Audience {
    match (route(path), probes) {
        (Some((_, true)), Probes::All) => Audience::Everybody,
        (Some((_, true)), Probes::Allow) => Audience::Allowed,
        _ => Audience::Trusted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_are_told_apart() {
        let (get, options) = (Method::GET, Method::OPTIONS);
        for (path, content, _) in ROUTES {
            assert_eq!(find(&get, path), Ok(Asked::Content(content)));
            assert_eq!(find(&Method::HEAD, path), Ok(Asked::Content(content)));
            assert_eq!(find(&options, path), Ok(Asked::Methods));
            for other in [Method::POST, Method::DELETE, Method::TRACE, Method::CONNECT] {
                assert_eq!(find(&other, path), Err(StatusCode::METHOD_NOT_ALLOWED));
            }
        }
        assert_eq!(find(&options, "*"), Ok(Asked::Methods));
        for (method, path) in [
            (&get, "*"),
            (&get, ""),
            (&options, ""),
            (&options, "/nowhere"),
            (&Method::POST, "/nowhere"),
            (&get, "/metrics/"),
            (&get, "/-/Ready"),
            (&get, "//-/ready"),
        ] {
            assert_eq!(find(method, path), Err(StatusCode::NOT_FOUND), "{method} {path}");
        }
    }

    #[test]
    fn probes_alone_are_opened() {
        let (open, allowed, trusted) = (Audience::Everybody, Audience::Allowed, Audience::Trusted);
        for (probes, expected) in [
            (Probes::All, open),
            (Probes::Allow, allowed),
            (Probes::Guarded, trusted),
        ] {
            for path in ["/-/healthy", "/-/ready"] {
                assert_eq!(audience(path, probes), expected);
            }
            for path in ["/", "/metrics", "*", "", "/-/", "/-/ready/", "/-/healthy/../metrics"] {
                assert_eq!(audience(path, probes), trusted, "{path}");
            }
        }
    }
}
