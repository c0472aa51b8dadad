//! Suggests the statement that a misspelled name means.

/// The name in these lists that is closest to a misspelled one, if any is close.
pub fn suggestion(lists: &[&[&'static str]], name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let closest =
        lists.iter().copied().flatten().map(|known| (distance(known.as_bytes(), name.as_bytes()), *known)).min()?;
    (closest.0 <= 2).then_some(closest.1)
}

/// Edit distance: bytes to change, insert, remove or swap to turn one name into the other.
fn distance(one: &[u8], two: &[u8]) -> usize {
    if one.len().abs_diff(two.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for at in 1..=one.len() {
        let mut next = vec![at];
        for to in 1..=two.len() {
            let same = usize::from(one[at - 1] != two[to - 1]);
            let mut least = (row[to] + 1).min(next[to - 1] + 1).min(row[to - 1] + same);
            if at > 1 && to > 1 && one[at - 1] == two[to - 2] && one[at - 2] == two[to - 1] {
                least = least.min(before[to - 2] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_names_have_a_neighbour() {
        let lists: &[&[&str]] = &[&["allow-query", "allow-query-on"], &["recursion"]];
        for (name, meant) in [
            ("alow-query", Some("allow-query")),
            ("allow-qeury", Some("allow-query")),
            ("Recursio", Some("recursion")),
            ("something-else", None),
        ] {
            assert_eq!(suggestion(lists, name), meant, "{name}");
        }
    }
}
