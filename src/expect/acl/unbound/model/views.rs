//! Reads `view` clauses into a [`View`].

use super::super::syntax::{Parsed, Statement};
use super::super::zones::Zones;
use super::Builder;
use crate::error::Error;
use crate::expect::acl::text::Span;
use std::sync::Arc;

/// A view.
#[derive(Debug)]
pub struct View {
    /// Its name.
    pub name: Arc<str>,
    /// When it has no answer, the server's own local zones are asked.
    pub first: bool,
    /// Its local zones; `None` when it has none.
    pub zones: Option<Zones>,
}

impl Builder<'_> {
    /// Reads the views; adds names that they treat specially to `written`.
    pub fn views(&mut self, parsed: &Parsed, written: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        for (number, _) in parsed.clauses.iter().enumerate().filter(|(_, clause)| **clause == "view") {
            let statements: Vec<&Statement> =
                parsed.statements.iter().filter(|statement| statement.clause == number).collect();
            let mut names = statements.iter().filter(|statement| statement.name == "name");
            if let Some(second) = names.nth(1) {
                return Err(self.files.error(second.span, "this view has a name already"));
            }
            let Some(named) = statements.iter().rev().find(|statement| statement.name == "name") else {
                let place = statements.first().map_or(Span { file: 0, start: 0, end: 0 }, |statement| statement.span);
                return Err(self.files.error(place, "this view has no name"));
            };
            let name = self.text(named.values[0]).to_owned();
            let first = self.last_switch(&statements, "view-first")?.is_some_and(|(on, _)| on);
            let own = ["local-zone", "local-data", "local-data-ptr"];
            let zones = if statements.iter().any(|statement| own.contains(&statement.name)) {
                Some(self.zones(&statements, !first, written)?)
            } else {
                None
            };
            if self.view_numbers.insert(name.clone(), self.views.len()).is_some() {
                return Err(self.files.error(named.values[0], "a view of this name is there already"));
            }
            self.views.push(View { name: Arc::from(name), first, zones });
        }
        Ok(())
    }

    pub fn view_number(&self, value: Span) -> Result<usize, Error> {
        let number = self.view_numbers.get(self.text(value)).copied();
        number.ok_or_else(|| self.files.error(value, "no view has this name"))
    }
}
