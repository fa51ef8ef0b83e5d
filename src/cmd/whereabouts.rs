//! From the options that were typed to the server, files and configuration that are meant.

use std::path::PathBuf;

use super::Failure;
use crate::api::client::Client;
use crate::app::Setup;
use crate::cli::Global;
use crate::config::find::{Choice, Env, Source, find};
use crate::config::{self, Config};
use crate::paths::{self, Environment, Root, Runtime, Server};

/// What is meant, before any configuration is read.
pub(super) struct Whereabouts {
    pub(super) env: Environment,
    pub(super) server: Server,
    pub(super) runtime: Runtime,
}

/// The configuration that holds, and where it comes from.
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) path: Option<PathBuf>,
    pub(super) source: Option<Source>,
    /// What a person should be told about it.
    pub(super) remarks: Vec<String>,
}

impl Whereabouts {
    pub(super) fn find(global: &Global) -> Result<Self, Failure> {
        let env = Environment::present();
        let server = Server::find(
            global.socket_name.as_deref(),
            global.socket_path.as_deref(),
            &env,
        );
        let server = server.map_err(Failure::usage)?;
        let runtime = Runtime::of(&server, &env).map_err(Failure::new)?;
        runtime.check(&env).map_err(Failure::new)?;
        Ok(Self {
            env,
            server,
            runtime,
        })
    }

    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.runtime.socket).await?)
    }

    /// The root to read from: as typed, else that of the run that holds or held the lock, else by configuration.
    pub(super) fn root(&self, global: &Global) -> Result<Root, Failure> {
        if let Some(root) = &global.root {
            return absolute(root).map(Root);
        }
        if let Some(holder) = paths::last_holder(&self.runtime.lock)
            && holder.root.is_dir()
        {
            return Ok(Root(holder.root));
        }
        let settings = Settings::read(global, false)?;
        self.root_by(global, &settings)
    }

    /// The root that a run with these settings has.
    fn root_by(&self, global: &Global, settings: &Settings) -> Result<Root, Failure> {
        if let Some(root) = &global.root {
            return absolute(root).map(Root);
        }
        if let Some(root) = &settings.config.root {
            return absolute(root).map(Root);
        }
        if settings.source == Some(Source::WorkingDirectory) {
            return absolute(std::path::Path::new(".")).map(Root);
        }
        Ok(Root(self.server.default_root(&self.env)))
    }

    pub(super) fn setup(self, global: &Global, settings: Settings) -> Result<Setup, Failure> {
        let root = self.root_by(global, &settings)?;
        let config_path = settings.path.map(|path| absolute(&path)).transpose()?;
        let Self {
            env,
            server,
            runtime,
        } = self;
        Ok(Setup {
            server,
            root,
            runtime,
            env,
            config: settings.config,
            config_path,
        })
    }
}

impl Settings {
    /// Finds and reads the configuration. `typed` by a person: only then the working directory is looked into,
    /// where agents can write.
    pub(super) fn read(global: &Global, typed: bool) -> Result<Self, Failure> {
        let found =
            find(global.config.as_deref(), &Env::present(), typed).map_err(Failure::usage)?;
        let mut remarks: Vec<String> = found.skipped.iter().map(ToString::to_string).collect();
        let Some(Choice { path, source }) = found.choice else {
            return Ok(Self {
                config: Config::default(),
                path: None,
                source: None,
                remarks,
            });
        };
        let loaded = config::load(&path).map_err(Failure::usage)?;
        if source == Source::WorkingDirectory {
            remarks.push(format!("configuration: {}", path.display()));
        }
        remarks.extend(
            loaded
                .warnings
                .iter()
                .map(|note| format!("{}:{note}", path.display())),
        );
        Ok(Self {
            config: loaded.config,
            path: Some(path),
            source: Some(source),
            remarks,
        })
    }

    pub(super) fn echo(&self) {
        for remark in &self.remarks {
            eprintln!("orch: {remark}");
        }
    }
}

fn absolute(path: &std::path::Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|e| Failure::new(format!("cannot use {}: {e}", path.display())))
}
