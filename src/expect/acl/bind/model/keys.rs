//! Reads the names of keys from `key` statements.

use super::super::syntax::{Block, Item};
use super::lists::Builder;
use super::statements::{Map, is_base64};
use crate::error::Error;
use crate::expect::acl::name;
use std::collections::HashSet;

impl<'a> Builder<'a> {
    /// Names of the keys that are defined.
    pub fn keys(&self, map: &Map<'a>) -> Result<Vec<Vec<u8>>, Error> {
        let (mut keys, mut known) = (Vec::new(), HashSet::new());
        for statement in map.get("key").into_iter().flatten() {
            match statement.items.as_slice() {
                [_, Item::Word(called) | Item::Quoted(called), Item::Block(block)] => {
                    let Some(key) = name::parse_name(self.files.text(*called)) else {
                        return Err(self.files.error(*called, "this is no name of a key"));
                    };
                    if !known.insert(key.clone()) {
                        return Err(self.files.error(*called, "a key of this name is there already"));
                    }
                    self.key(block)?;
                    keys.push(key);
                }
                _ => return Err(self.files.error(statement.span, "key takes a name and a block in braces")),
            }
        }
        Ok(keys)
    }

    /// What a key is made of: `algorithm` and `secret`, once each.
    pub fn key(&self, block: &Block) -> Result<(), Error> {
        let mut seen = [false; 2];
        for statement in &block.statements {
            let [Item::Word(word), Item::Word(value) | Item::Quoted(value)] = statement.items.as_slice() else {
                return Err(self.files.error(statement.span, "a key takes algorithm and secret, each with one value"));
            };
            let which =
                ["algorithm", "secret"].iter().position(|known| known.eq_ignore_ascii_case(self.files.text(*word)));
            match which {
                Some(which) if !seen[which] => seen[which] = true,
                Some(_) => return Err(self.files.error(*word, "this is given already")),
                None => return Err(self.files.error(*word, "a key takes algorithm and secret only")),
            }
            if which == Some(1) && !is_base64(self.files.text(*value)) {
                return Err(self.files.error(*word, "this secret is no base64"));
            }
        }
        if seen == [true; 2] { Ok(()) } else { Err(self.files.error(block.span, "a key takes algorithm and secret")) }
    }
}
