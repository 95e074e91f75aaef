//! The rules, the votes on them, and what several votes come to.

use serde::{Deserialize, Serialize};

/// What is wrong with a problem that breaks a rule. The order decides between rules that get as many votes.
pub(super) const RULES: [&str; 8] = [
    "signature_mismatch",
    "randomness",
    "wrong_target",
    "floating_point",
    "swallowed_exceptions",
    "tests_never_run",
    "unstated_requirements",
    "other",
];

/// Longest piece of a vote that is kept, characters.
const KEPT_CHARS: usize = 500;

/// One vote.
#[derive(Debug, Deserialize)]
pub(super) struct Vote {
    rules: Vec<Claim>,
}

/// What a vote says of one rule.
#[derive(Debug, Deserialize)]
struct Claim {
    rule: String,
    defect: bool,
    #[serde(default)]
    evidence: String,
    #[serde(default)]
    reason: String,
}

/// What all votes say of one rule that some vote sees broken.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    rule: &'static str,
    /// Votes whose evidence is in the row.
    votes: usize,
    /// Votes whose evidence is not. They do not count.
    unsupported: usize,
    /// The evidence of the first vote that counts, or else of the first that does not.
    evidence: String,
    /// What that vote says about it.
    reason: String,
}

/// Votes on one row, counted.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ballot {
    /// Votes that could be read.
    pub votes: usize,
    /// What they found, by the order of the rules.
    pub findings: Vec<Finding>,
}

impl Ballot {
    /// Counts `vote`: for each rule once, however often it names it. `is_quoted` tells whether evidence is in the row.
    pub fn add(&mut self, vote: &Vote, is_quoted: impl Fn(&str) -> bool) {
        self.votes += 1;
        for rule in RULES {
            let claims = || vote.rules.iter().filter(|claim| claim.defect && rule_named(&claim.rule) == rule);
            let supported = claims().find(|claim| is_quoted(&claim.evidence));
            if let Some(claim) = supported.or_else(|| claims().next()) {
                self.find(rule, claim, supported.is_some());
            }
        }
        self.findings.sort_by_key(|finding| RULES.iter().position(|rule| *rule == finding.rule));
    }

    fn find(&mut self, rule: &'static str, claim: &Claim, supported: bool) {
        let kept = |text: &str| text.chars().take(KEPT_CHARS).collect::<String>();
        let (evidence, reason) = (kept(&claim.evidence), kept(&claim.reason));
        let (votes, unsupported) = (usize::from(supported), usize::from(!supported));
        match self.findings.iter_mut().find(|finding| finding.rule == rule) {
            None => self.findings.push(Finding { rule, votes, unsupported, evidence, reason }),
            Some(finding) => {
                if supported && finding.votes == 0 {
                    (finding.evidence, finding.reason) = (evidence, reason);
                }
                finding.votes += votes;
                finding.unsupported += unsupported;
            }
        }
    }

    /// The rule that most votes see broken, if at least `needed` do: reason and detail of the rejection.
    pub fn broken(&self, needed: usize) -> Option<(String, String)> {
        let most = self.findings.iter().map(|finding| finding.votes).max()?;
        let finding = self.findings.iter().find(|finding| finding.votes == most && most >= needed)?;
        let Finding { rule, votes, evidence, reason, .. } = finding;
        Some((format!("critic:{rule}"), format!("{votes} of {} votes: {reason} ({evidence})", self.votes)))
    }
}

/// The rule of this name; whatever else a vote may call it is another rule.
fn rule_named(name: &str) -> &'static str {
    RULES.into_iter().find(|rule| *rule == name).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(claims: &[(&str, bool, &str)]) -> Vote {
        let claim = |(rule, defect, evidence): &(&str, bool, &str)| Claim {
            rule: (*rule).to_owned(),
            defect: *defect,
            evidence: (*evidence).to_owned(),
            reason: format!("because of {evidence}"),
        };
        Vote { rules: claims.iter().map(claim).collect() }
    }

    fn count(votes: &[Vote]) -> Ballot {
        let mut ballot = Ballot::default();
        votes.iter().for_each(|vote| ballot.add(vote, |quote| quote.starts_with("real")));
        ballot
    }

    #[test]
    fn true_means_a_defect_and_nothing_else_does() {
        let ballot = count(&[vote(&[("randomness", false, "real"), ("other", false, "")])]);
        assert_eq!((ballot.votes, ballot.findings.len()), (1, 0));
        assert_eq!(ballot.broken(1), None);
    }

    #[test]
    fn a_rule_is_counted_once_for_each_vote() {
        let twice = vote(&[("randomness", true, "real 1"), ("randomness", true, "real 2")]);
        let both_ways = vote(&[("randomness", false, ""), ("randomness", true, "real 3")]);
        let ballot = count(&[twice, both_ways, vote(&[])]);
        assert_eq!((ballot.votes, ballot.findings[0].votes), (3, 2));
        assert_eq!(
            ballot.broken(2),
            Some(("critic:randomness".into(), "2 of 3 votes: because of real 1 (real 1)".into()))
        );
        assert_eq!(ballot.broken(3), None);
    }

    #[test]
    fn evidence_that_is_made_up_does_not_count_but_is_told() {
        let invented = || vote(&[("floating_point", true, "made up")]);
        let ballot = count(&[invented(), invented(), vote(&[("floating_point", true, "real")])]);
        let finding = &ballot.findings[0];
        assert_eq!((finding.votes, finding.unsupported, finding.evidence.as_str()), (1, 2, "real"));
        assert_eq!(ballot.broken(2), None);
        assert_eq!(count(&[invented()]).broken(1), None);
    }

    #[test]
    fn the_rule_with_most_votes_is_the_reason_and_strange_names_are_another_rule() {
        let a = || vote(&[("tests_never_run", true, "real"), ("randomness", true, "real")]);
        let b = vote(&[("tests_never_run", true, "real"), ("\u{1b}[2J", true, "real")]);
        let reason = |votes: &[Vote]| count(votes).broken(1).unwrap().0;
        assert_eq!(reason(&[a(), b]), "critic:tests_never_run");
        assert_eq!(reason(&[a()]), "critic:randomness");
        assert_eq!(reason(&[vote(&[("\u{1b}[2J", true, "real")])]), "critic:other");
    }

    #[test]
    fn long_evidence_is_cut() {
        let long = format!("real{}", "é".repeat(10_000));
        let ballot = count(&[vote(&[("other", true, &long)])]);
        assert_eq!(ballot.findings[0].evidence.chars().count(), KEPT_CHARS);
    }
}
