//! `orch config check|show|default`.

use super::Done;
use super::whereabouts::Settings;
use crate::cli::{ConfigVerb, Global};
use crate::config;

pub(super) fn config(global: &Global, verb: &ConfigVerb) -> Done {
    match verb {
        ConfigVerb::Default => print!("{}", config::DEFAULT),
        ConfigVerb::Check => {
            let settings = Settings::read(global, true)?;
            settings.echo();
            match &settings.path {
                Some(path) => println!("{}: no mistakes", path.display()),
                None => {
                    println!(
                        "no configuration file: the defaults hold (see `orch config default`)"
                    );
                }
            }
        }
        ConfigVerb::Show => {
            let settings = Settings::read(global, true)?;
            settings.echo();
            match &settings.path {
                Some(path) => println!("# from {}", path.display()),
                None => println!("# the defaults: no configuration file is in use"),
            }
            print!("{}", config::show(&settings.config));
        }
    }
    Ok(0)
}
