//! Files and folders that only their owner can read: a journal shows what a person does, a stored state what they
//! have, and a log what their programs print. An error of one names its path, and what stands in its place.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Creates a folder and its parents, if they do not exist.
///
/// # Errors
/// Fails if the system refuses.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Returns the options that open a file, and create it if it does not exist.
#[must_use]
pub fn private_file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Returns whether `file` is the file that `metadata` describes. A system that cannot tell is trusted.
#[must_use]
pub fn is_same_file(file: &File, metadata: &Metadata) -> bool {
    file.metadata().is_ok_and(|own| describes_same_file(&own, metadata))
}

/// Returns whether both describe one file. A system that cannot tell is trusted.
pub(crate) fn describes_same_file(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        true
    }
}

/// Says why a file was not read and what to do, as the end of a sentence that begins with its name.
#[must_use]
pub fn explain_unread(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::IsADirectory => return "is a folder; name a file instead".to_owned(),
        io::ErrorKind::NotFound => "check its path, or create it",
        io::ErrorKind::PermissionDenied => "give this user the permission to read it, and its folders",
        _ => "check its path and its disk, then try again",
    };
    format!("cannot be read: {error}; {advice}")
}

/// The kind of thing that must stand at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

impl PathKind {
    /// Returns a function that adds the path to an error. If something else stands there, or a file stands where a folder
    /// above it must be, the error names that and says what to do.
    pub fn error_at(self, path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
        move |error| {
            let text = self.misplaced(path).unwrap_or_else(|| format!("{}: {error}", path.display()));
            io::Error::new(error.kind(), text)
        }
    }

    /// Checks that what stands at the path is of this kind.
    ///
    /// # Errors
    /// Fails if something else stands there, or the system does not say what.
    pub fn check(self, path: &Path) -> io::Result<()> {
        let kind = match (self, fs::metadata(path).map_err(self.error_at(path))?) {
            (Self::File, found) if found.is_dir() => io::ErrorKind::IsADirectory,
            (Self::Folder, found) if !found.is_dir() => io::ErrorKind::NotADirectory,
            _ => return Ok(()),
        };
        Err(self.error_at(path)(kind.into()))
    }

    fn misplaced(self, path: &Path) -> Option<String> {
        let is_folder = |path: &Path| fs::metadata(path).ok().map(|found| found.is_dir());
        match (self, is_folder(path)) {
            (Self::File, Some(true)) => {
                Some(format!("{} is a folder in the place of a file: move it away", path.display()))
            }
            (Self::Folder, Some(false)) => Some(format!(
                "{} is a file in the place of a folder: move it away, or name another folder",
                path.display()
            )),
            (_, Some(_)) => None,
            // What is missing may be so because something stands where a folder above it must be.
            (_, None) => path
                .ancestors()
                .skip(1)
                .find(|above| is_folder(above).is_some())
                .and_then(|above| Self::Folder.misplaced(above)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_file_comes_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        let absent = fs::read(dir.path().join("absent")).unwrap_err();
        assert_eq!(
            explain_unread(&absent),
            format!("cannot be read: {absent}; check its path, or create it")
        );
        for (kind, expected) in [
            (io::ErrorKind::IsADirectory, "is a folder; name a file instead"),
            (io::ErrorKind::PermissionDenied, "give this user the permission to read it, and its folders"),
            (io::ErrorKind::Other, "check its path and its disk, then try again"),
        ] {
            assert!(explain_unread(&kind.into()).ends_with(expected), "{kind}");
        }
    }

    #[test]
    fn error_names_what_stands_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("folder")).unwrap();
        let away = "in the place of a folder: move it away, or name another folder";
        for (kind, path, expected) in [
            (
                PathKind::File,
                "folder",
                "DIR/folder is a folder in the place of a file: move it away".to_owned(),
            ),
            (PathKind::Folder, "file", format!("DIR/file is a file {away}")),
            (PathKind::File, "file/in/it", format!("DIR/file is a file {away}")),
            (PathKind::Folder, "folder", "DIR/folder: refused".to_owned()),
            (PathKind::File, "missing/file", "DIR/missing/file: refused".to_owned()),
        ] {
            let error = kind.error_at(&at(path))(io::Error::other("refused"));
            let text = error.to_string().replace(&dir.path().display().to_string(), "DIR");
            assert_eq!(text.replace('\\', "/"), expected);
        }
        for (kind, path, is_right) in [
            (PathKind::File, "file", true),
            (PathKind::Folder, "folder", true),
            (PathKind::File, "folder", false),
            (PathKind::Folder, "file", false),
            (PathKind::File, "missing", false),
        ] {
            assert_eq!(kind.check(&at(path)).is_ok(), is_right, "{kind:?} {path}");
        }
    }
}
