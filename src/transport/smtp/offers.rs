//! What a relay offers in its reply to EHLO (RFC 5321, 4.1.1.1).

use super::reply::Reply;

/// The extensions that a relay named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// Keywords in capitals.
    keywords: Vec<String>,
    /// Largest message in octets, where SIZE is offered; 0 for no limit (RFC 1870, 3).
    pub(super) size: Option<u64>,
    /// Mechanisms of AUTH in capitals.
    pub(super) auth: Vec<String>,
}

impl Offers {
    /// Reads the lines behind the greeting.
    pub(super) fn parse(reply: &Reply) -> Self {
        let mut offers = Self::default();
        for line in reply.lines.iter().skip(1) {
            // Some relays repeat the mechanisms in an old form, `AUTH=LOGIN`.
            let line = line.to_uppercase().replace("AUTH=", "AUTH ");
            let mut words = line.split_whitespace().map(str::to_owned);
            let Some(keyword) = words.next() else { continue };
            match keyword.as_str() {
                "SIZE" => {
                    let limit = words.next().and_then(|limit| limit.parse().ok());
                    offers.size = Some(limit.unwrap_or(0));
                }
                "AUTH" => offers.auth.extend(words),
                _ => (),
            }
            offers.keywords.push(keyword);
        }
        offers.auth.sort_unstable();
        offers.auth.dedup();
        offers
    }

    /// Whether `keyword`, in capitals, is offered.
    pub(super) fn has(&self, keyword: &str) -> bool {
        self.keywords.iter().any(|it| it == keyword)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Offers {
        Offers::parse(&Reply {
            code: 250,
            lines: lines.iter().map(|it| (*it).to_owned()).collect(),
        })
    }

    #[test]
    fn keywords_are_known_in_any_case() {
        let offers = parse(&[
            "mx PIPELINING",
            "starttls",
            "Size 1000",
            "AUTH NTLM plain",
            "AUTH=PLAIN LOGIN",
        ]);
        assert!(offers.has("STARTTLS") && !offers.has("PIPELINING"));
        assert_eq!(offers.size, Some(1000));
        assert_eq!(offers.auth, ["LOGIN", "NTLM", "PLAIN"]);
    }

    #[test]
    fn a_size_without_a_number_is_no_limit() {
        for line in ["SIZE", "SIZE 0", "SIZE x"] {
            assert_eq!(parse(&["mx", line]).size, Some(0), "{line}");
        }
        assert_eq!(parse(&["mx"]).size, None);
    }
}
