//! `orch config check|show|default`.

use super::Done;
use super::whereabouts::Settings;
use crate::cli::{ConfigVerb, Global};
use crate::config;

pub(super) fn config(global: &Global, verb: &ConfigVerb) -> Done {
    match verb {
        ConfigVerb::Default => say!("{}", config::DEFAULT.trim_end()),
        ConfigVerb::Check => {
            let settings = Settings::read(global, true)?;
            settings.echo();
            match &settings.path {
                Some(path) => say!("{}: no mistakes", path.display()),
                None => {
                    say!("no configuration file: the defaults hold (see `orch config default`)");
                }
            }
        }
        ConfigVerb::Show => {
            let settings = Settings::read(global, true)?;
            settings.echo();
            match &settings.path {
                Some(path) => say!("# from {}", path.display()),
                None => say!("# the defaults: no configuration file is in use"),
            }
            say!("{}", config::show(&settings.config).trim_end());
        }
    }
    Ok(0)
}
