//! `mainstay config check`: names the errors of a configuration, and warns about what is not there on this computer.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mainstay_actors::json::Json;
use mainstay_actors::process::ProcessSpec;
use mainstay_runtime::journal::{count, escape_controls};
use serde::Serialize;

use super::error::CliError;
use super::output::Output;
use super::snippet::snippet;
use super::stderr::error_line;
use crate::config::{self, BackendConfig, Config, ConfigError, ConfigProblem};
use crate::placeholders::find_misspelt;
use crate::tree_builder::{self, error::BuildError};

/// The name of standard input in messages.
pub(super) const STDIN: &str = "stdin";

/// The result of a check, as `--json` prints it.
#[derive(Serialize)]
struct CheckReport<'a> {
    file: &'a Path,
    valid: bool,
    errors: &'a [ConfigProblem],
    warnings: &'a [ConfigProblem],
}

/// Reads a file, or standard input for `-`. Returns its name for messages as well.
pub(super) fn read_named(file: &Path) -> (&Path, Result<String, ConfigError>) {
    match file.as_os_str() == "-" {
        true => (Path::new(STDIN), read_stdin()),
        false => (file, config::read_text(file)),
    }
}

/// The text of a configuration, for the places of its errors.
pub(super) struct ConfigText {
    file: PathBuf,
    text: String,
}

impl ConfigText {
    /// Reads a configuration, and keeps its text.
    pub(super) fn load(file: &Path) -> Result<(Config, Self), CliError> {
        let text = config::read_text(file).map_err(|error| error.in_file(file))?;
        let source = Self { file: file.to_owned(), text };
        match Config::from_toml(&source.text) {
            Ok(config) => Ok((config, source)),
            Err(error) => Err(usage_error(&source.file, &source.text, &error.problems)),
        }
    }

    /// Returns the error of a tree that cannot be built from the configuration.
    pub(super) fn build_error(&self, error: &BuildError) -> CliError {
        // It was valid when it was read.
        let config = Config::from_toml(&self.text).unwrap_or_default();
        usage_error(&self.file, &self.text, &[build_problem(&self.text, &config, error)])
    }
}

/// Returns the error with a line and a place for each problem.
fn usage_error(file: &Path, text: &str, errors: &[ConfigProblem]) -> CliError {
    let lines: Vec<String> = errors.iter().map(|error| with_snippet(file, text, error, "")).collect();
    CliError::usage(lines.join("\n"))
}

fn build_problem(text: &str, config: &Config, error: &BuildError) -> ConfigProblem {
    match error.key(config) {
        Some(key) => Config::problem_at(text, &key, &error.to_string()),
        None => ConfigProblem::whole(error.to_string()),
    }
}

/// Checks a file, or standard input for `-`.
pub(super) fn check(out: &mut Output, file: &Path, json: bool) -> Result<(), CliError> {
    let (name, read) = read_named(file);
    let text = read.as_deref().unwrap_or_default().to_owned();
    let (errors, warnings) = match read {
        Ok(text) => problems(&text, &SYSTEM),
        Err(error) => (error.problems, Vec::new()),
    };
    if json {
        let report =
            CheckReport { file: name, valid: errors.is_empty(), errors: &errors, warnings: &warnings };
        out.json(&Json::from_serialize(&report).map_err(CliError::internal)?)?;
    } else {
        for warning in &warnings {
            let lines = with_snippet(name, &text, warning, "warning: ");
            let lines: Vec<String> = lines.lines().map(escape_controls).collect();
            error_line(&format!("mainstay: {}", lines.join("\n")));
        }
    }
    if !errors.is_empty() {
        return Err(usage_error(name, &text, &errors));
    }
    if json {
        return Ok(());
    }
    let more = match warnings.len() {
        0 => String::new(),
        number => format!(", with {}", count(number, "warning")),
    };
    out.line(&format!("{} is valid{more}", name.display()))
}

fn read_stdin() -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    let limit = config::FILE_BYTES_MAX as u64 + 1;
    io::stdin().take(limit).read_to_end(&mut bytes).map_err(|error| config::unreadable(&error))?;
    config::text_of(bytes)
}

fn with_snippet(file: &Path, text: &str, problem: &ConfigProblem, level: &str) -> String {
    let message = format!("{level}{}", problem.message);
    let shown = ConfigProblem { message, ..problem.clone() };
    let line = ConfigError::new(vec![shown]).in_file(file).to_string();
    match snippet(text, problem) {
        Some(snippet) => format!("{line}\n{snippet}"),
        None => line,
    }
}

/// Returns the errors of a configuration, and, if it has none, the warnings.
fn problems(text: &str, system: &System) -> (Vec<ConfigProblem>, Vec<ConfigProblem>) {
    let config = match Config::from_toml(text) {
        Ok(config) => config,
        Err(error) => return (error.problems, Vec::new()),
    };
    if let Err(error) = tree_builder::check_config(&config) {
        return (vec![build_problem(text, &config, &error)], Vec::new());
    }
    let mut warnings: Vec<ConfigProblem> = absences(&config, system)
        .into_iter()
        .chain(unused_keys(&config))
        .chain(misspelt_placeholders(&config))
        .map(|(key, message)| Config::problem_at(text, &key, &format!("\"{key}\" {message}")))
        .collect();
    warnings.sort_by_key(|warning| (warning.line, warning.column));
    (Vec::new(), warnings)
}

/// The looks at this computer.
struct System {
    has_variable: fn(&str) -> bool,
    is_folder: fn(&Path) -> bool,
    is_file: fn(&Path) -> bool,
    home: fn() -> Option<PathBuf>,
    /// Returns why a program cannot be started.
    find_program: fn(&ProcessSpec) -> Result<(), String>,
}

const SYSTEM: System = System {
    has_variable: |name| std::env::var_os(name).is_some_and(|value| !value.is_empty()),
    is_folder: Path::is_dir,
    is_file: Path::is_file,
    home: dirs::home_dir,
    find_program: |spec| spec.check_start().map_err(|error| error.to_string()),
};

/// Returns the keys of `[backend]` that have no effect without a program, each with the rest of a sentence.
fn unused_keys(config: &Config) -> Vec<(String, String)> {
    let (backend, default) = (&config.backend, BackendConfig::default());
    if !backend.command.is_empty() {
        return Vec::new();
    }
    let runs_programs = config.agent.iter().any(|agent| !agent.command.is_empty());
    let unused = [
        ("cwd", backend.cwd != default.cwd),
        ("env", backend.env != default.env && backend.token_command.is_empty()),
        ("login_env", backend.login_env && !runs_programs),
        ("ready_within", backend.ready_within != default.ready_within),
        ("ready", backend.ready != default.ready),
    ];
    let message = "has no effect: the runtime starts no backend, because \"backend.command\" is empty";
    let keys = unused.into_iter().filter(|(_, is_unused)| *is_unused);
    keys.map(|(key, _)| (format!("backend.{key}"), message.to_owned())).collect()
}

/// Returns the keys whose text holds nearly a placeholder, each with the rest of a sentence. Other braces may be meant.
fn misspelt_placeholders(config: &Config) -> impl Iterator<Item = (String, String)> {
    config.program_texts().into_iter().filter_map(|(_, key, text)| {
        let (name, near) = find_misspelt(text)?;
        Some((key, format!("holds {{{name}}}, which is no placeholder; did you mean {{{near}}}?")))
    })
}

/// Returns the keys that name something which is not there, each with the rest of a sentence. It may be there where the
/// runtime will run, so these are no errors.
fn absences(config: &Config, system: &System) -> Vec<(String, String)> {
    let backend = &config.backend;
    let mut found = Vec::new();
    let headers = backend.headers_env.iter();
    let headers = headers.map(|(header, name)| (format!("backend.headers_env.{header}"), name));
    let named = [("token_env", &backend.token_env), ("proxy_env", &backend.proxy_env)];
    let named = named.into_iter().map(|(key, name)| (format!("backend.{key}"), name));
    for (key, name) in named.chain(headers) {
        if !name.is_empty() && !(system.has_variable)(name) {
            let message = format!(
                "names the environment variable {name:?}, which is not set here: set it before the start"
            );
            found.push((key, message));
        }
    }
    let token_file = &backend.token_file;
    if !token_file.as_os_str().is_empty() && !(system.is_file)(token_file) {
        found.push((
            "backend.token_file".to_owned(),
            format!("names {}, which is no file here", token_file.display()),
        ));
    }
    for (at, folder) in config.cache.watch.iter().enumerate() {
        let place = match (folder.strip_prefix("~"), (system.home)()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => folder.clone(),
        };
        if !(system.is_folder)(&place) {
            let message = format!(
                "names {}, which is no folder here: it is watched once it is there",
                folder.display()
            );
            found.push((format!("cache.watch[{at}]"), message));
        }
    }
    let mut program = |section: &str, key: &str, command: &[String], cwd: &Path, env: &_, login_env: bool| {
        let Some(name) = command.first().filter(|name| !name.contains('{')) else { return };
        let is_path = name.contains(std::path::is_separator);
        let mut cwd = Some(cwd).filter(|cwd| !cwd.as_os_str().is_empty());
        if let Some(missing) = cwd.take_if(|cwd| !(system.is_folder)(cwd)) {
            let message =
                format!("names {}, which is no folder here: make it before the start", missing.display());
            found.push((format!("{section}.cwd"), message));
            // A relative path begins there.
            if is_path && Path::new(name).is_relative() {
                return;
            }
        }
        // The login shell may know more folders than this one.
        if login_env && !is_path {
            return;
        }
        let mut spec = ProcessSpec::new(section, [name]);
        spec.cwd = cwd.map(Path::to_owned);
        spec.env = Clone::clone(env);
        if let Err(fault) = (system.find_program)(&spec) {
            found.push((format!("{section}.{key}"), format!("cannot be started here: {fault}")));
        }
    };
    let login_env = backend.login_env;
    program("backend", "command", &backend.command, &backend.cwd, &backend.env, login_env);
    program("backend", "token_command", &backend.token_command, Path::new(""), &backend.env, false);
    for (at, agent) in config.agent.iter().enumerate() {
        program(&format!("agent[{at}]"), "command", &agent.command, &agent.cwd, &agent.env, login_env);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: System = System {
        has_variable: |_| false,
        is_folder: |_| false,
        is_file: |_| false,
        home: || Some("/home/me".into()),
        find_program: |spec| Err(format!("no program {}", spec.command[0])),
    };

    const FILE: &str = r#"
[backend]
token_env = "TOKEN"
headers_env = { X-Api-Key = "KEY" }
command = ["serve", "--port", "{port}"]

[cache]
watch = ["/here", "~/notes"]

[[agent]]
id = "a"
driver = "process"
command = ["./a"]
cwd = "/nowhere"

[[agent]]
id = "b"
driver = "process"
command = ["b"]
cwd = "/nowhere"
"#;

    #[test]
    fn each_absence_is_a_warning_with_its_place() {
        let (errors, warnings) = problems(FILE, &NOTHING);
        assert_eq!(errors, []);
        let places: Vec<(usize, usize, &str)> =
            warnings.iter().map(|warning| (warning.line, warning.column, warning.key.as_str())).collect();
        assert_eq!(
            places,
            [
                (3, 13, "backend.token_env"),
                (4, 29, "backend.headers_env.x-api-key"),
                (5, 11, "backend.command"),
                (8, 10, "cache.watch[0]"),
                (8, 19, "cache.watch[1]"),
                (14, 7, "agent[0].cwd"),
                (19, 11, "agent[1].command"),
                (20, 7, "agent[1].cwd"),
            ]
        );
        assert_eq!(warnings[2].message, "\"backend.command\" cannot be started here: no program serve");
    }

    #[test]
    fn what_is_there_or_may_be_there_is_no_warning() {
        let all = System {
            has_variable: |_| true,
            is_folder: |path| path.starts_with("/"),
            is_file: |_| true,
            find_program: |_| Ok(()),
            ..NOTHING
        };
        assert_eq!(problems(FILE, &all), (Vec::new(), Vec::new()));
        let login = FILE.replace("token_env", "login_env = true\ntoken_env");
        let (_, warnings) = problems(&login, &System { find_program: NOTHING.find_program, ..all });
        let keys: Vec<&str> = warnings.iter().map(|warning| warning.key.as_str()).collect();
        assert_eq!(keys, ["agent[0].command"], "only a path does not depend on PATH");
    }

    #[test]
    fn key_without_effect_is_a_warning() {
        let text = "[backend]\ncwd = \"/\"\nenv = { A = \"1\" }\nlogin_env = true\nready = \"stdout:up\"\nready_within = \"1s\"\n";
        let all = System { is_folder: |_| true, find_program: |_| Ok(()), ..NOTHING };
        let lines = |text: &str| -> Vec<(usize, String)> {
            let (_, warnings) = problems(text, &all);
            warnings.into_iter().map(|warning| (warning.line, warning.key)).collect()
        };
        let keys = ["cwd", "env", "login_env", "ready", "ready_within"];
        let expected: Vec<_> =
            keys.iter().zip(2..).map(|(key, line)| (line, format!("backend.{key}"))).collect();
        assert_eq!(lines(text), expected);
        let (_, warnings) = problems(text, &all);
        let message = "\"backend.cwd\" has no effect: the runtime starts no backend, because \"backend.command\" is empty";
        assert_eq!(warnings[0].message, message);
        assert_eq!(lines(&format!("{text}command = [\"serve\"]\n")), []);
        let agent =
            "token_command = [\"t\"]\n[[agent]]\nid = \"a\"\ndriver = \"process\"\ncommand = [\"a\"]\n";
        let of_others: Vec<_> = [0, 3, 4].map(|at| expected[at].clone()).into();
        assert_eq!(lines(&format!("{text}{agent}")), of_others, "they serve other programs");
    }

    #[test]
    fn misspelt_placeholder_is_a_warning_with_its_place() {
        let text = r#"[backend]
command = ["serve", "--port", "{prot}", "{other}"]
env = { SECRET = "{tokn}", SHELL = "${prot}" }
ready = "stdout:up on {prot}"
[[agent]]
id = "a"
driver = "process"
command = ["a", "{urll}"]
"#;
        let all = System { is_folder: |_| true, find_program: |_| Ok(()), ..NOTHING };
        let (errors, warnings) = problems(text, &all);
        assert_eq!(errors, []);
        let places: Vec<(usize, usize, &str)> =
            warnings.iter().map(|warning| (warning.line, warning.column, warning.key.as_str())).collect();
        assert_eq!(
            places,
            [
                (2, 31, "backend.command[2]"),
                (3, 18, "backend.env.SECRET"),
                (4, 9, "backend.ready"),
                (8, 17, "agent[0].command[1]"),
            ]
        );
        assert_eq!(
            warnings[0].message,
            "\"backend.command[2]\" holds {prot}, which is no placeholder; did you mean {port}?"
        );
    }

    #[test]
    fn placeholder_without_value_is_an_error_with_its_place() {
        const BACKEND: &str = "[backend]\nurl = \"auto\"\ncommand = [\"b\", \"{port}\"]\n";
        const AGENT: &str = "[[agent]]\nid = \"a\"\ndriver = \"process\"\ncommand = [\"a\", \"{url}\"]\n";
        let place = |text: &str| {
            let (errors, _) = problems(text, &NOTHING);
            let [error] = &errors[..] else { panic!("{errors:?}") };
            (error.line, error.key.clone(), error.message.clone())
        };
        let fixed = "[backend]\nurl = \"http://127.0.0.1:9\"\n";
        let (line, key, message) = place(&format!("{fixed}{AGENT}ready = \"stdout:up with {{token}}\"\n"));
        assert_eq!((line, &*key), (7, "agent[0].ready"));
        assert!(message.contains("{token} has no value"), "{message}");
        let (line, key, _) = place(&format!("{fixed}{AGENT}env = {{ T = \"{{token}}\" }}\n"));
        assert_eq!((line, &*key), (7, "agent[0].env.T"));
        for ready in ["stdout:up on {port}", "stdout:{url} of {data_dir}"] {
            let (errors, _) = problems(&format!("{BACKEND}ready = \"{ready}\"\n"), &NOTHING);
            assert_eq!(errors, [], "{ready}");
            let (errors, _) = problems(&format!("{BACKEND}{AGENT}ready = \"{ready}\"\n"), &NOTHING);
            assert_eq!(errors, [], "{ready} of an agent");
        }
    }

    #[test]
    fn error_of_the_tree_has_its_place() {
        let taken = "[backend]\ncommand = [\"a\"]\n[[agent]]\ndriver = \"process\"\ncommand = [\"b\"]\nid = \"backend\"\n";
        let (errors, _) = problems(taken, &NOTHING);
        assert_eq!((errors[0].line, errors[0].key.as_str()), (6, "agent[0].id"));
        let (errors, _) = problems("[backend]\nca_file = \"/mainstay/none.pem\"\n", &NOTHING);
        assert_eq!((errors[0].line, errors[0].key.as_str()), (2, "backend.ca_file"));
    }
}
