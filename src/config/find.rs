//! Which configuration file is used, and why not another. Looks at names, owners and modes; never into a file.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file that is looked for in the working directory.
pub const LOCAL_NAME: &str = "orchestrator_config.yaml";

/// What the choice depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// `$ORCH_CONFIG`.
    pub orch_config: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`; one that is not absolute does not count.
    pub xdg_config_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// The working directory, if there is one.
    pub cwd: Option<PathBuf>,
    /// The effective user.
    pub uid: u32,
}

impl Env {
    /// That of this process. A variable that is empty counts as not set.
    pub fn present() -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            orch_config: variable("ORCH_CONFIG"),
            xdg_config_home: variable("XDG_CONFIG_HOME"),
            home: variable("HOME"),
            cwd: std::env::current_dir().ok(),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// Where the user's own file would be.
    fn user_file(&self) -> Option<PathBuf> {
        let folder = self
            .xdg_config_home
            .clone()
            .filter(|path| path.is_absolute());
        let folder = folder.or_else(|| Some(self.home.as_ref()?.join(".config")))?;
        Some(folder.join("orch/config.yaml"))
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        self.cwd
            .as_ref()
            .map_or_else(|| path.to_owned(), |cwd| cwd.join(path))
    }
}

/// Which of the places a file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `--config`.
    Option,
    /// `$ORCH_CONFIG`.
    Variable,
    /// [`LOCAL_NAME`] in the working directory.
    WorkingDirectory,
    /// `$XDG_CONFIG_HOME/orch/config.yaml`.
    User,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Option => "--config",
            Self::Variable => "$ORCH_CONFIG",
            Self::WorkingDirectory => "the working directory",
            Self::User => "the user's configuration folder",
        })
    }
}

/// A file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Where it is; absolute where there is a working directory.
    pub path: PathBuf,
    /// Where it comes from.
    pub source: Source,
}

/// A file in the working directory that was passed over. Shown as `ignored PATH: REASON`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub reason: &'static str,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ignored {}: {}", self.path.display(), self.reason)
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The file to use; None means the built-in default.
    pub choice: Option<Choice>,
    /// The file that would have been used but for its owner or mode.
    pub skipped: Option<Skipped>,
}

/// A file that was asked for by name cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}, named by {place}: {error}", path.display())]
pub struct FindError {
    /// The file.
    pub path: PathBuf,
    /// Who named it: [`Source::Option`] or [`Source::Variable`].
    pub place: Source,
    /// What the system said.
    #[source]
    pub error: io::Error,
}

/// Looks for the file: `explicit` (`--config`), `$ORCH_CONFIG`, [`LOCAL_NAME`] in the working directory, the user's.
/// The one in the working directory is looked at only for what a person typed, and passed over unless it is a plain
/// file of the user's own that nobody else can write: others, and agents, can put files there.
///
/// # Errors
/// A file named by `explicit` or `$ORCH_CONFIG` that cannot be reached.
pub fn find(explicit: Option<&Path>, env: &Env, typed_by_person: bool) -> Result<Found, FindError> {
    let named = [
        (explicit, Source::Option),
        (env.orch_config.as_deref(), Source::Variable),
    ];
    if let Some((path, source)) = named
        .into_iter()
        .find_map(|(path, source)| Some((path?, source)))
    {
        let path = env.absolute(path);
        return match std::fs::metadata(&path) {
            Ok(_) => Ok(chosen(path, source)),
            Err(error) => Err(FindError {
                path,
                place: source,
                error,
            }),
        };
    }
    let mut found = Found::default();
    if let Some(cwd) = env.cwd.as_ref().filter(|_| typed_by_person) {
        let path = cwd.join(LOCAL_NAME);
        match objection(&path, env.uid) {
            Ok(None) => return Ok(chosen(path, Source::WorkingDirectory)),
            Ok(Some(reason)) => found.skipped = Some(Skipped { path, reason }),
            Err(Absent) => {}
        }
    }
    // A link that leads nowhere is chosen too: it fails to load, which is better than silent defaults.
    if let Some(path) = env
        .user_file()
        .filter(|path| path.symlink_metadata().is_ok())
    {
        found.choice = Some(Choice {
            path,
            source: Source::User,
        });
    }
    Ok(found)
}

fn chosen(path: PathBuf, source: Source) -> Found {
    Found {
        choice: Some(Choice { path, source }),
        skipped: None,
    }
}

struct Absent;

/// Why the file is not trusted. A link counts as well as what it leads to.
fn objection(path: &Path, uid: u32) -> Result<Option<&'static str>, Absent> {
    let (link, file) = match path
        .symlink_metadata()
        .and_then(|link| Ok((link, path.metadata()?)))
    {
        Ok(both) => both,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Absent),
        Err(_) => return Ok(Some("it cannot be reached")),
    };
    Ok(if !file.is_file() {
        Some("it is not a plain file")
    } else if link.uid() != uid || file.uid() != uid {
        Some("it belongs to another user")
    } else if file.mode() & 0o022 != 0 {
        Some("others can write it; use chmod go-w")
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Place {
        _folder: tempfile::TempDir,
        env: Env,
        local: PathBuf,
        user: PathBuf,
    }

    fn write(path: &Path, mode: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (cwd, home) = (folder.path().join("work"), folder.path().join("home"));
        let (local, user) = (cwd.join(LOCAL_NAME), home.join(".config/orch/config.yaml"));
        write(&local, 0o644);
        write(&user, 0o600);
        let env = Env {
            orch_config: None,
            xdg_config_home: None,
            home: Some(home),
            cwd: Some(cwd),
            uid: rustix::process::geteuid().as_raw(),
        };
        Place {
            _folder: folder,
            env,
            local,
            user,
        }
    }

    fn found(place: &Place) -> Option<(PathBuf, Source)> {
        let choice = find(None, &place.env, true).unwrap().choice?;
        Some((choice.path, choice.source))
    }

    #[test]
    fn the_order() {
        let mut place = place();
        let cwd = place.env.cwd.clone().unwrap();
        assert_eq!(
            found(&place),
            Some((place.local.clone(), Source::WorkingDirectory))
        );
        let unasked = find(None, &place.env, false).unwrap();
        assert_eq!(unasked, chosen(place.user.clone(), Source::User));

        write(&cwd.join("b.yaml"), 0o666);
        place.env.orch_config = Some("b.yaml".into());
        assert_eq!(found(&place), Some((cwd.join("b.yaml"), Source::Variable)));
        let explicit = find(Some(&place.user), &place.env, true).unwrap();
        assert_eq!(explicit, chosen(place.user.clone(), Source::Option));

        place.env.orch_config = None;
        std::fs::remove_file(&place.local).unwrap();
        assert_eq!(found(&place), Some((place.user.clone(), Source::User)));
        place.env.xdg_config_home = Some("relative".into());
        assert_eq!(found(&place), Some((place.user.clone(), Source::User)));
        place.env.xdg_config_home = Some(cwd);
        assert_eq!(find(None, &place.env, true).unwrap(), Found::default());
    }

    #[test]
    fn a_file_named_but_absent_is_an_error() {
        let mut place = place();
        let error = find(Some(Path::new("no.yaml")), &place.env, true).unwrap_err();
        let path = place.env.cwd.clone().unwrap().join("no.yaml");
        assert!(
            error.to_string().starts_with(&format!(
                "cannot use {}, named by --config: No such",
                path.display()
            )),
            "{error}"
        );
        place.env.orch_config = Some("/no/such.yaml".into());
        let error = find(None, &place.env, false).unwrap_err();
        assert_eq!(
            (error.place, error.path.to_str()),
            (Source::Variable, Some("/no/such.yaml"))
        );
    }

    #[test]
    fn a_local_file_that_others_could_have_written_is_passed_over() {
        let mut place = place();
        let skipped = |place: &Place| {
            let found = find(None, &place.env, true).unwrap();
            assert_eq!(found.choice.unwrap().source, Source::User);
            found.skipped.unwrap().reason
        };
        for mode in [0o664, 0o646, 0o622] {
            write(&place.local, mode);
            assert_eq!(skipped(&place), "others can write it; use chmod go-w");
        }
        write(&place.local, 0o600);
        place.env.uid += 1;
        assert_eq!(skipped(&place), "it belongs to another user");
        place.env.uid -= 1;
        std::fs::remove_file(&place.local).unwrap();
        std::fs::create_dir(&place.local).unwrap();
        assert_eq!(skipped(&place), "it is not a plain file");
    }
}
