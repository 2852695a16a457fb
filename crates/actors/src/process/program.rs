//! Finds the program of a command. The places are plain data, and a function says what lies at each.
//!
//! - A name with a separator is a path, from the working folder of the process.
//! - `sidecar:NAME` is a program that comes with the application: beside its executable as `NAME` or as
//!   `NAME-TARGET_TRIPLE`, then in the application's folder of resources, then in `PATH`.
//! - Any other name is searched in `PATH`.

use std::env::consts;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// The prefix of a program that comes with the application.
const SIDECAR_PREFIX: &str = "sidecar:";

/// The number of places that an error lists.
const LISTED_MAX: usize = 12;

/// The places where programs are looked for.
#[derive(Debug, Clone, Default)]
pub(super) struct SearchPlaces {
    /// The executable of this process.
    pub(super) executable: Option<PathBuf>,
    /// The folder from which relative paths count.
    pub(super) working_dir: PathBuf,
    /// The folders of `PATH`.
    pub(super) path: Vec<PathBuf>,
    /// The system's suffix of programs, such as `.exe`; empty if it has none.
    pub(super) suffix: &'static str,
}

impl SearchPlaces {
    /// Returns the files of a folder that the name may mean: with the system's suffix, unless the name ends as a program
    /// does. What follows another dot may be a suffix or a part of the name, as in `python3.11`.
    fn files(&self, folder: &Path, name: &str) -> Vec<PathBuf> {
        let file = folder.join(name);
        let Some(suffix) = self.suffix.strip_prefix('.') else { return vec![file] };
        let with_suffix = folder.join(format!("{name}.{suffix}"));
        match Path::new(name).extension() {
            None => vec![with_suffix],
            Some(ending) if is_program_ending(ending, suffix) => vec![file],
            Some(_) => vec![with_suffix, file],
        }
    }
}

/// Returns whether Windows runs files that end so. It ignores the case.
fn is_program_ending(ending: &OsStr, suffix: &str) -> bool {
    [suffix, "bat", "cmd", "com"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// A look at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Missing,
    /// There is a file or a folder, which cannot be run.
    NotRunnable,
    Runnable,
}

/// The result of a search that found nothing to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SearchFailure {
    /// True if there is something of that name, which cannot be run.
    pub(super) is_present: bool,
    pub(super) tried: TriedPlaces,
}

/// The places that were tried, in order. `Display` lists the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TriedPlaces(Vec<PathBuf>);

impl fmt::Display for TriedPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, place) in self.0.iter().take(LISTED_MAX).enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, place.display())?;
        }
        match self.0.len().saturating_sub(LISTED_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Returns the program's file: the first place that holds one which can be run.
pub(super) fn find_program(
    program: &str,
    places: &SearchPlaces,
    look: impl Fn(&Path) -> FileKind,
) -> Result<PathBuf, SearchFailure> {
    let tried = candidates(program, places);
    let mut is_present = false;
    for place in &tried {
        match look(place) {
            FileKind::Runnable => return Ok(place.clone()),
            FileKind::NotRunnable => is_present = true,
            FileKind::Missing => {}
        }
    }
    Err(SearchFailure { is_present, tried: TriedPlaces(tried) })
}

/// Returns whether the program comes with the application.
pub(super) fn is_sidecar(program: &str) -> bool {
    program.starts_with(SIDECAR_PREFIX)
}

fn candidates(program: &str, places: &SearchPlaces) -> Vec<PathBuf> {
    let Some(name) = program.strip_prefix(SIDECAR_PREFIX) else {
        if program.contains(std::path::is_separator) {
            return places.files(&places.working_dir, program);
        }
        return in_path(program, places);
    };
    let beside = places.executable.as_deref().and_then(Path::parent);
    let mut found: Vec<PathBuf> = beside
        .into_iter()
        .flat_map(|folder| {
            let named = places.files(folder, name);
            named.into_iter().chain(places.files(folder, &format!("{name}-{}", target_triple())))
        })
        .collect();
    found.extend(resource_dir(places).iter().flat_map(|folder| places.files(folder, name)));
    found.extend(in_path(name, places));
    found
}

fn in_path(name: &str, places: &SearchPlaces) -> Vec<PathBuf> {
    // A relative folder in `PATH` counts from the working folder.
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in places.path.iter().map(|folder| places.working_dir.join(folder)) {
        // A folder may stand in it twice.
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders.iter().flat_map(|folder| places.files(folder, name)).collect()
}

/// Returns the folder of the application's resources: where the usual bundles of the system have it.
fn resource_dir(places: &SearchPlaces) -> Option<PathBuf> {
    let executable = places.executable.as_deref()?;
    let folder = executable.parent()?;
    Some(match consts::OS {
        "macos" => folder.parent()?.join("Resources"),
        "windows" => folder.join("resources"),
        _ => folder.parent()?.join("lib").join(executable.file_stem()?),
    })
}

/// Returns the name of the target that this was compiled for, as rustc writes it.
fn target_triple() -> String {
    let arch = consts::ARCH;
    let abi = if cfg!(target_env = "msvc") {
        "-msvc"
    } else if cfg!(target_env = "musl") {
        "-musl"
    } else if cfg!(target_env = "gnu") {
        "-gnu"
    } else {
        ""
    };
    match consts::OS {
        "macos" => format!("{arch}-apple-darwin"),
        "windows" => format!("{arch}-pc-windows{abi}"),
        os => format!("{arch}-unknown-{os}{abi}"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn places() -> SearchPlaces {
        SearchPlaces {
            executable: Some("/app/bin/shell".into()),
            working_dir: "/work".into(),
            path: vec!["/usr/bin".into(), "tools".into()],
            suffix: "",
        }
    }

    fn find(program: &str, files: &[(&str, FileKind)]) -> Result<PathBuf, SearchFailure> {
        find_program(program, &places(), |place| {
            files
                .iter()
                .find(|(path, _)| Path::new(path) == place)
                .map_or(FileKind::Missing, |(_, kind)| *kind)
        })
    }

    #[test]
    fn sidecar_is_found_beside_the_executable_then_further_away() {
        let triple = format!("/app/bin/model-{}", target_triple());
        let order =
            ["/app/bin/model", &triple, "/app/lib/shell/model", "/usr/bin/model", "/work/tools/model"];
        for (at, expected) in order.iter().enumerate() {
            let files: Vec<_> = order[at..].iter().map(|path| (*path, FileKind::Runnable)).collect();
            assert_eq!(find("sidecar:model", &files), Ok(PathBuf::from(expected)));
        }
        let tried = find("sidecar:model", &[]).unwrap_err().tried.to_string();
        assert_eq!(tried, order.join(", "));
    }

    #[test]
    fn name_is_searched_in_path_and_a_path_from_the_working_dir() {
        let tried = |program| find(program, &[]).unwrap_err().tried.to_string();
        assert_eq!(tried("python3"), "/usr/bin/python3, /work/tools/python3");
        assert_eq!(tried("./run"), "/work/./run");
        assert_eq!(tried("/opt/run"), "/opt/run");
    }

    #[test]
    fn suffix_of_programs_is_added_unless_the_name_has_one() {
        let places = SearchPlaces { suffix: ".exe", ..places() };
        let tried =
            |program| find_program(program, &places, |_| FileKind::Missing).unwrap_err().tried.to_string();
        assert_eq!(tried("./api"), "/work/./api.exe");
        assert_eq!(tried("./api-1.2"), "/work/./api-1.2.exe, /work/./api-1.2");
        for program in ["./api.exe", "./api-1.2.EXE", "./npm.cmd", "./run.bat"] {
            assert_eq!(tried(program), format!("/work/{program}"));
        }
        let in_path = "/usr/bin/python3.11.exe, /usr/bin/python3.11, /work/tools/python3.11.exe, /work/tools/python3.11";
        assert_eq!(tried("python3.11"), in_path);
        assert!(
            tried("sidecar:api-1.2").starts_with("/app/bin/api-1.2.exe, /app/bin/api-1.2, /app/bin/api-1.2-")
        );
    }

    #[test]
    fn unrunnable_file_is_passed_over_and_named_if_it_is_all() {
        let files = [("/usr/bin/x", FileKind::NotRunnable), ("/work/tools/x", FileKind::Runnable)];
        assert_eq!(find("x", &files), Ok("/work/tools/x".into()));
        assert!(find("x", &files[..1]).unwrap_err().is_present);
        assert!(!find("x", &[]).unwrap_err().is_present);
    }

    #[test]
    fn long_list_of_places_is_cut() {
        let places = TriedPlaces((0..14).map(|at| PathBuf::from(format!("/{at}"))).collect());
        let shown = places.to_string();
        assert!(shown.starts_with("/0, /1, ") && shown.ends_with("/11 and 2 more"), "{shown}");
    }
}
