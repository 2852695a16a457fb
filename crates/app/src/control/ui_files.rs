//! The files of the package `mainstay-ui`, which the control server's own pages load. They hold nothing secret, so they
//! need no token.

use axum::response::{IntoResponse, Response};
use http::header;

/// A file: its path below `ui/`, and its text.
type UiFile = (&'static str, &'static str);

macro_rules! ui_files {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../../../ui/", $path)))),*] };
}
macro_rules! docs {
    ($($name:literal),* $(,)?) => {
        &[$((concat!("docs/", $name), include_str!(concat!("../../../../docs/ui/", $name)))),*]
    };
}

/// The policy for the pages, which have neither styles nor scripts within them.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The pages about the hooks, to which the live page links.
const DOCS: &[UiFile] =
    docs!["react-agents.md", "react-connection.md", "react-requests.md", "react-streams.md"];
/// The dashboard, which is served at `/` as well.
pub(super) const DASHBOARD: &str = "dashboard/dashboard.html";
/// Everything that a page in a browser may load, in the order of its paths.
const UI_FILES: &[UiFile] = ui_files![
    "dashboard/actor-actions.js",
    "dashboard/actor-panel.js",
    "dashboard/agent-vitals.js",
    "dashboard/connect.js",
    "dashboard/dashboard.css",
    "dashboard/dashboard.html",
    "dashboard/dashboard.js",
    "dashboard/durations.js",
    "dashboard/facts.js",
    "dashboard/faults.js",
    "dashboard/favicon.js",
    "dashboard/help.js",
    "dashboard/large-json.js",
    "dashboard/limits.js",
    "dashboard/liveness.js",
    "dashboard/log-view.js",
    "dashboard/request-stats.js",
    "dashboard/route.js",
    "dashboard/search.js",
    "dashboard/socket-worker.js",
    "dashboard/spark.js",
    "dashboard/talk.js",
    "dashboard/texts.js",
    "dashboard/tour.js",
    "dashboard/verdict-words.js",
    "dashboard/verdict.js",
    "dashboard/worker-transport.js",
    "examples/live.css",
    "examples/live.html",
    "examples/live.js",
    "src/bytes.js",
    "src/cache.js",
    "src/client.js",
    "src/clock.js",
    "src/connection-view.js",
    "src/conversation.js",
    "src/elements/agent-conversation.js",
    "src/elements/agents.js",
    "src/elements/all.js",
    "src/elements/base.js",
    "src/elements/connection-status.js",
    "src/elements/devtools.js",
    "src/elements/error-toast.js",
    "src/elements/events.js",
    "src/elements/incidents.js",
    "src/elements/index.js",
    "src/elements/load.js",
    "src/elements/more.js",
    "src/elements/requests.js",
    "src/elements/sentences.js",
    "src/elements/style.js",
    "src/elements/text.js",
    "src/elements/time-axis.js",
    "src/elements/timeline.js",
    "src/elements/tree-rows.js",
    "src/elements/tree.js",
    "src/elements/windowed.js",
    "src/errors.js",
    "src/fetch.js",
    "src/file-changes.js",
    "src/frame-fold.js",
    "src/frames.js",
    "src/index.js",
    "src/listeners.js",
    "src/logs.js",
    "src/messages.js",
    "src/names.js",
    "src/queue.js",
    "src/reconnect.js",
    "src/retry.js",
    "src/session.js",
    "src/share.js",
    "src/store.js",
    "src/streams.js",
    "src/transports/choose.js",
    "src/transports/mock-history.js",
    "src/transports/mock.js",
    "src/transports/samples.js",
    "src/transports/tauri-link.js",
    "src/transports/tauri.js",
    "src/transports/websocket.js",
];

/// Returns the answer with the file at `path` below `ui/`, if there is one.
pub(super) fn response(path: &str) -> Option<Response> {
    let (_, text) = UI_FILES.iter().chain(DOCS).find(|(known, _)| *known == path)?;
    let headers = [
        (header::CONTENT_TYPE, content_type(path)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Some((headers, *text).into_response())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("md") => "text/plain; charset=utf-8",
        _ => "text/html; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{fs, io};

    use super::UI_FILES;

    /// Lists the files below `folder` with one of the endings, by their paths below `root`.
    fn list(root: &Path, folder: &Path, paths: &mut Vec<String>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                list(root, &path, paths)?;
            } else if let Ok(below) = path.strip_prefix(root) {
                paths.push(below.to_string_lossy().replace('\\', "/"));
            }
        }
        Ok(())
    }

    #[test]
    fn every_file_that_a_page_loads_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui");
        let mut paths = Vec::new();
        list(&root, &root.join("src"), &mut paths).unwrap();
        list(&root, &root.join("dashboard"), &mut paths).unwrap();
        // Bundlers resolve what this imports, not browsers.
        paths.retain(|path| {
            path != "src/tanstack.js" && !path.starts_with("src/react") && !path.ends_with(".json")
        });
        paths.extend(["css", "html", "js"].map(|ending| format!("examples/live.{ending}")));
        paths.sort();
        let served: Vec<&str> = UI_FILES.iter().map(|(path, _)| *path).collect();
        assert_eq!(served, paths);
    }
}
