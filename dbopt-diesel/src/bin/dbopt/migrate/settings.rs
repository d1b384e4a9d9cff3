//! Where the migrations are, and where they go: the settings of dbopt, or what a diesel project has already.

use std::error::Error;
use std::path::{Path, PathBuf};

use dbopt_diesel::Config;
use dbopt_diesel::migrate::{Migrations, Migrator};

pub(crate) struct Settings {
    pub(crate) folder: Option<PathBuf>,
    pub(crate) url: Option<String>,
}

impl Settings {
    /// The same, on that server if no database is named anywhere.
    pub(super) fn or_on(&self, url: Option<&String>) -> Settings {
        let named = self.config().is_ok_and(|config| config.named_nodes().is_ok());
        let url = if named { self.url.clone() } else { self.url.clone().or_else(|| url.cloned()) };
        Settings { folder: self.folder.clone(), url }
    }

    /// The settings of dbopt; without a database in them, `DATABASE_URL` names it, as it does for diesel.
    pub(crate) fn config(&self) -> Result<Config, Box<dyn Error>> {
        let mut config = Config::load()?;
        let unset = config.database.url.is_empty() && config.database.nodes.is_empty();
        let url = self.url.clone().or_else(|| std::env::var("DATABASE_URL").ok().filter(|_| unset));
        if let Some(url) = url {
            let schema = config.schema.clone();
            config = Config::for_urls([url]);
            config.schema = schema;
        }
        if let Some(problem) = config.schema.problems().first() {
            return Err(problem.clone().into());
        }
        Ok(config)
    }

    /// `--folder`, or `schema.folder`, or what diesel.toml says, here or in a folder above.
    pub(crate) fn folder(&self, config: &Config) -> PathBuf {
        if let Some(folder) = &self.folder {
            return folder.clone();
        }
        let here = std::env::current_dir().unwrap_or_default();
        let default = dbopt_diesel::core::schema::Config::default().folder;
        for place in here.ancestors() {
            let told = if config.schema.folder == default { diesel_folder(place) } else { None };
            let folder = told.unwrap_or_else(|| place.join(&config.schema.folder));
            if folder.is_dir() {
                return folder.strip_prefix(&here).map(Path::to_owned).unwrap_or(folder);
            }
        }
        PathBuf::from(&config.schema.folder)
    }

    pub(super) fn migrator(&self, receipt: Option<String>) -> Result<(Migrator, PathBuf), Box<dyn Error>> {
        let mut config = self.config()?;
        if let Some(receipt) = receipt {
            config.schema.receipt = receipt;
        }
        if let Err(error) = config.named_nodes() {
            return Err(format!("{error}\n  or name it with --url, or in the variable DATABASE_URL").into());
        }
        let folder = self.folder(&config);
        let migrations = Migrations::from_folder(&folder)?;
        Ok((Migrator::new(&config, migrations)?, folder))
    }
}

/// `dir` in `[migrations_directory]` of diesel.toml.
fn diesel_folder(place: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(place.join("diesel.toml")).ok()?;
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[migrations_directory]";
        } else if let Some((_, value)) = line.split_once('=').filter(|(key, _)| inside && key.trim() == "dir") {
            return Some(place.join(value.trim().trim_matches(['"', '\''])));
        }
    }
    None
}
