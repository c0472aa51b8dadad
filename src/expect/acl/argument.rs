//! Parses how a configuration is named on the command line ([`AclArgument`]).

use super::DIALECTS;
use crate::error::escape_text;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// How a file is named on the command line: `[DIALECT[-VERSION]:]FILE[@ADDR[,ADDR]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclArgument {
    /// The dialect's name, when given.
    pub dialect: Option<&'static str>,
    /// The server's version, when given.
    pub version: Option<(u32, u32)>,
    /// The file.
    pub path: PathBuf,
    /// The server's addresses.
    pub servers: Vec<IpAddr>,
}

impl AclArgument {
    /// Reads an argument.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut argument = Self { dialect: None, version: None, path: PathBuf::new(), servers: Vec::new() };
        let mut rest = text;
        if let Some((word, file)) = text.split_once(':') {
            let (name, version) = word.split_once('-').map_or((word, None), |(name, version)| (name, Some(version)));
            if let Some(dialect) = DIALECTS.iter().find(|dialect| dialect.name == name) {
                argument.dialect = Some(dialect.name);
                argument.version = version.map(parse_version).transpose()?;
                rest = file;
            } else if !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && !Path::new(text).exists()
            {
                let known: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
                return Err(format!("\"{}\" is no dialect; one of {}", escape_text(word), known.join(", ")));
            }
        }
        if let Some((file, addresses)) = rest.rsplit_once('@') {
            let parsed: Result<Vec<IpAddr>, _> = addresses.split(',').map(str::parse).collect();
            match parsed {
                Ok(servers) => {
                    argument.servers = servers;
                    rest = file;
                }
                Err(_) if Path::new(rest).exists() => {}
                Err(_) => return Err("after @ come the server's addresses, joined by commas".to_owned()),
            }
        }
        if rest.is_empty() {
            return Err("the file is missing".to_owned());
        }
        argument.path = PathBuf::from(rest);
        Ok(argument)
    }
}

/// `9.18` or `1.17.1`.
fn parse_version(text: &str) -> Result<(u32, u32), String> {
    let mut parts = text.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(format!("\"{}\" is no version such as 9.18", escape_text(text))),
    }
}
