//! What interfaces lost before the kernel saw it: combines their counters ([`InterfaceDrops`]) into one number with how
//! far it is known ([`InterfaceLoss`]).

use super::host::{interfaces, read_small};
use super::live::ANY;
use std::fs::File;

/// Packets of any traffic that interfaces report as lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InterfaceLoss {
    /// No interface reports it.
    #[default]
    Unknown,
    /// Some interfaces report this number; others report nothing, or no longer do.
    AtLeast(u64),
    /// All interfaces report this number.
    Exactly(u64),
}

impl InterfaceLoss {
    /// The number, as far as it is known.
    pub fn known(self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::AtLeast(count) | Self::Exactly(count) => Some(count),
        }
    }

    /// The known numbers of all interfaces, or of some.
    pub(super) fn of(known: Option<u64>, all: bool) -> Self {
        known.map_or(Self::Unknown, if all { Self::Exactly } else { Self::AtLeast })
    }

    /// Adds the losses of other interfaces.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let known = self.known().map_or(other.known(), |one| Some(one + other.known().unwrap_or(0)));
        Self::of(known, matches!((self, other), (Self::Exactly(_), Self::Exactly(_))))
    }

    /// Combines two numbers that may count from the same beginning, so that they must not be added.
    #[must_use]
    pub fn or_of(self, other: Self) -> Self {
        let most = self.known().max(other.known());
        let certain = matches!((self, other), (Self::Exactly(one), Self::Exactly(other)) if one == 0 || other == 0);
        Self::of(most, certain)
    }

    /// The losses after an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let known = self.known().zip(earlier.known()).map(|(now, then)| now.saturating_sub(then));
        Self::of(known, matches!((self, earlier), (Self::Exactly(_), Self::Exactly(_))))
    }
}

/// Receive counters of interfaces that mean packets lost before the kernel saw them
/// (Documentation/networking/statistics: `rx_missed_errors`, `rx_fifo_errors`). Opened once, so that they can be read
/// after privileges were given up.
#[derive(Default)]
pub struct InterfaceDrops {
    counters: Vec<DropCounter>,
    /// A counter was reset: what it had counted since it was last read is not known.
    began_anew: bool,
}

struct DropCounter {
    file: File,
    begin: Option<u64>,
    /// Losses since the beginning, when last read.
    since: u64,
}

impl InterfaceDrops {
    /// For one interface, or for all but loopback, which has none.
    pub fn open(name: &str) -> Self {
        let names = if name == ANY { interfaces() } else { vec![name.to_string()] };
        let paths = names.iter().filter(|name| *name != "lo").flat_map(|name| {
            ["rx_missed_errors", "rx_fifo_errors"].map(|counter| format!("/sys/class/net/{name}/statistics/{counter}"))
        });
        let counter = |path| File::open(path).ok().map(|file| DropCounter { file, begin: None, since: 0 });
        Self { counters: paths.filter_map(counter).collect(), began_anew: false }
    }

    /// Starts counting from now on.
    pub fn begin(&mut self) {
        for counter in &mut self.counters {
            counter.begin = counter.read();
        }
    }

    /// Losses since the start.
    pub fn since_begin(&mut self) -> InterfaceLoss {
        let mut all_say = true;
        for counter in &mut self.counters {
            match counter.read().zip(counter.begin) {
                Some((now, begin)) if now.saturating_sub(begin) >= counter.since && now >= begin => {
                    counter.since = now - begin;
                }
                Some(_) => self.began_anew = true,
                // The counters of a removed interface cannot be read; losses up to the last reading still count.
                None => all_say = false,
            }
        }
        let sum = || self.counters.iter().map(|counter| counter.since).sum();
        InterfaceLoss::of((!self.counters.is_empty()).then(sum), all_say && !self.began_anew)
    }
}

impl DropCounter {
    fn read(&self) -> Option<u64> {
        read_small(&self.file)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::InterfaceLoss::{AtLeast, Exactly, Unknown};
    use super::*;

    #[test]
    fn losses_of_interfaces_add_up_as_far_as_they_are_known() {
        assert_eq!(Exactly(7).and(Exactly(5)), Exactly(12));
        assert_eq!([Exactly(7).and(Unknown), Unknown.and(Exactly(7))], [AtLeast(7); 2]);
        assert_eq!((Unknown.and(Unknown), AtLeast(1).and(Exactly(2))), (Unknown, AtLeast(3)));
        assert_eq!((Exactly(7).since(Exactly(5)), AtLeast(7).since(Exactly(5))), (Exactly(2), AtLeast(2)));
        assert_eq!(Exactly(7).since(Unknown), Unknown);
    }

    #[test]
    fn what_an_interface_lost_before_it_was_gone_stays_lost() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        let counter = || DropCounter { file: File::open(file.path()).unwrap(), begin: None, since: 0 };
        let mut drops = InterfaceDrops { counters: vec![counter()], began_anew: false };
        write("3\n");
        drops.begin();
        write("10\n");
        assert_eq!(drops.since_begin(), Exactly(7));
        write("");
        assert_eq!(drops.since_begin(), AtLeast(7));
        write("11\n");
        assert_eq!(drops.since_begin(), Exactly(8));
        write("2\n");
        assert_eq!(drops.since_begin(), AtLeast(8));
        assert_eq!(InterfaceDrops::open("lo").since_begin(), Unknown);
    }
}
