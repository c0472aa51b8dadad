//! Reads access rules ([`Access`]): what happens to requests from a prefix, and the views and tags tied to it.

use super::super::syntax::Statement;
use super::super::zones::Kind;
use super::Builder;
use crate::error::Error;
use crate::expect::acl::RuleId;
use crate::expect::acl::text::Span;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What happens to requests of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No answer.
    Deny,
    /// REFUSED.
    Refuse,
    /// Local data are answered, the rest not.
    DenyNonLocal,
    /// Local data are answered, the rest refused.
    RefuseNonLocal,
    /// Served, when recursion is desired or the data are local.
    Allow,
    /// Served as if recursion were desired.
    AllowSetRd,
    /// Served.
    AllowSnoop,
    /// Served over UDP only with a valid cookie.
    AllowCookie,
}

impl Action {
    /// Every action with its name.
    const ALL: [(&'static str, Action); 8] = [
        ("deny", Action::Deny),
        ("refuse", Action::Refuse),
        ("deny_non_local", Action::DenyNonLocal),
        ("refuse_non_local", Action::RefuseNonLocal),
        ("allow", Action::Allow),
        ("allow_setrd", Action::AllowSetRd),
        ("allow_snoop", Action::AllowSnoop),
        ("allow_cookie", Action::AllowCookie),
    ];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// True when some or all requests are served.
    pub fn admits(self) -> bool {
        !matches!(self, Action::Deny | Action::Refuse)
    }
}

/// An access rule with everything tied to its prefix.
#[derive(Debug, Clone)]
pub struct Access {
    /// The action.
    pub action: Action,
    /// The statement.
    pub rule: RuleId,
    /// Rarely used parts; kept apart, so that many rules stay close together in memory.
    ties: Option<Box<Ties>>,
}

/// Further settings tied to a prefix.
#[derive(Debug, Clone, Default)]
pub struct Ties {
    /// Index of the view that answers.
    pub view: Option<usize>,
    /// Tags in the order they were defined.
    pub tags: Vec<usize>,
    /// What local zones do for a tag.
    pub tag_actions: Vec<(usize, Kind, RuleId)>,
    /// Tags with data of their own.
    pub tag_data: Vec<usize>,
}

impl Access {
    pub fn new(action: Action, rule: RuleId) -> Self {
        Self { action, rule, ties: None }
    }

    /// Further settings tied to it.
    pub fn ties(&self) -> Option<&Ties> {
        self.ties.as_deref()
    }
}

impl Builder<'_> {
    /// Access rules by prefix; of lines with identical prefixes the last one decides.
    pub fn entries(&mut self, server: &[&Statement]) -> Result<BTreeMap<IpNet, Access>, Error> {
        let mut entries: BTreeMap<IpNet, Access> = BTreeMap::new();
        for statement in server.iter().filter(|statement| statement.name == "access-control") {
            let (prefix, action) = (self.netblock(statement.values[0])?, self.action(statement.values[1])?);
            entries.insert(prefix, Access::new(action, self.rules.text(statement.span)));
        }
        for statement in server {
            let Some(what) = statement.name.strip_prefix("access-control-") else { continue };
            let prefix = self.netblock(statement.values[0])?;
            // A prefix for which only tags or a view are set is allowed by that.
            let rule = self.rules.text(statement.span);
            let mut access = entries.remove(&prefix).unwrap_or_else(|| Access::new(Action::Allow, rule));
            self.tie(what, statement, &mut access, rule)?;
            entries.insert(prefix, access);
        }
        Ok(entries)
    }

    /// Ties a view or tags to a prefix or interface.
    pub fn tie(&self, what: &str, statement: &Statement, access: &mut Access, rule: RuleId) -> Result<(), Error> {
        let values = &statement.values;
        let tag = |value: Span| self.tag_list(value).map(|tags| tags.first().copied().unwrap_or_default());
        let ties = access.ties.get_or_insert_default();
        match what {
            // Of several such statements the first decides, unlike with actions (measured).
            "view" => {
                let view = self.view_number(values[1])?;
                ties.view.get_or_insert(view);
            }
            "tag" => ties.tags = self.tag_list(values[1])?,
            "tag-action" => ties.tag_actions.push((tag(values[1])?, self.kind(values[2])?, rule)),
            "tag-data" => ties.tag_data.push(tag(values[1])?),
            "action" => access.action = self.action(values[1])?,
            _ => {}
        }
        Ok(())
    }

    pub fn define_tags(&mut self, server: &[&Statement]) -> Result<(), Error> {
        for statement in server {
            // The server reads lists of tags line by line: tags of a later line are not defined yet.
            if ["access-control-tag", "interface-tag", "local-zone-tag", "response-ip-tag"].contains(&statement.name) {
                self.tag_list(statement.values[1])?;
            }
            if statement.name != "define-tag" {
                continue;
            }
            for tag in self.files.text(statement.values[0]).split_whitespace() {
                let number = self.tags.len();
                self.tags.entry(tag.to_owned()).or_insert(number);
            }
            if self.tags.len() > 1024 {
                return Err(self.files.error(statement.span, "more than 1024 tags"));
            }
        }
        Ok(())
    }

    pub fn tag_list(&self, value: Span) -> Result<Vec<usize>, Error> {
        let mut list = Vec::new();
        for tag in self.text(value).split_whitespace() {
            match self.tags.get(tag) {
                Some(number) => list.push(*number),
                None => return Err(self.files.error(value, "a tag that no define-tag before names")),
            }
        }
        list.sort_unstable();
        list.dedup();
        Ok(list)
    }

    /// Parses an address or prefix; bits beyond the length do not matter.
    pub fn netblock(&self, value: Span) -> Result<IpNet, Error> {
        let text = self.text(value);
        // The zone index of an IPv6 address, which the server ignores (measured with 1.17).
        let address = |text: &str| match text.split_once('%') {
            Some((address, _)) => address.parse().ok().map(IpAddr::V6),
            None => text.parse().ok(),
        };
        let parsed = match text.split_once('/') {
            None => address(text).map(IpNet::from),
            Some((before, length)) => address(before)
                .zip(length.parse::<u8>().ok())
                .and_then(|(address, length)| IpNet::new(address, length).ok()),
        };
        parsed.map(|net| net.trunc()).ok_or_else(|| self.files.error(value, "this is no address and no prefix"))
    }

    fn action(&self, value: Span) -> Result<Action, Error> {
        let text = self.text(value);
        let found = Action::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, action)| *action).ok_or_else(|| {
            let known: Vec<&str> = Action::ALL.iter().map(|(name, _)| *name).collect();
            self.files.error(value, &format!("no such action; one of {}", known.join(", ")))
        })
    }
}
