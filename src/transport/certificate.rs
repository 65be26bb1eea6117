//! The names in a certificate (X.509, DER), for people to read. Trusts nothing; decides nothing.

/// Common name of a subject (2.5.4.3).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// Extension "subject alternative name" (2.5.29.17).
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Most names that are listed.
const NAMES_MAX: usize = 10;

/// Names and last day, in a few words.
pub(super) fn about(der: &[u8]) -> String {
    let until = end(der).map_or_else(String::new, |day| format!(", until {day}"));
    format!("{}{until}", names(der).join(", "))
}

/// The day on which it ends, as `2030-12-31`.
fn end(der: &[u8]) -> Option<String> {
    let parts = fields(der)?;
    let (tag, digits) = elements(parts.get(subject_index(&parts)? - 1)?.1).nth(1)?;
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.is_ascii())?;
    // Two digits of the year mean 1950 to 2049 (RFC 5280, 4.1.2.5.1).
    let century = if digits.get(..2)? < "50" { "20" } else { "19" };
    let text = if tag == 0x17 { format!("{century}{digits}") } else { digits.to_owned() };
    Some(format!("{}-{}-{}", text.get(..4)?, text.get(4..6)?, text.get(6..8)?))
}

/// Common name and DNS names, as far as they can be read.
pub(super) fn names(der: &[u8]) -> Vec<String> {
    let mut names = read_names(der).unwrap_or_default();
    names.dedup();
    names.truncate(NAMES_MAX);
    if names.is_empty() { vec!["no name that can be read".into()] } else { names }
}

fn read_names(der: &[u8]) -> Option<Vec<String>> {
    let parts = fields(der)?;
    let common = elements(parts.get(subject_index(&parts)?)?.1)
        .flat_map(|(_, set)| elements(set))
        .filter_map(|(_, pair)| value_of(pair, COMMON_NAME));
    let extensions = parts.iter().find(|(tag, _)| *tag == 0xa3).map_or(&[][..], |(_, it)| *it);
    let extensions = element(extensions).map_or(&[][..], |(_, list, _)| list);
    let alternative = elements(extensions)
        .filter_map(|(_, extension)| value_of(extension, ALTERNATIVE_NAME))
        .filter_map(|octets| element(octets).map(|(_, names, _)| names))
        .flat_map(|names| elements(names).filter(|(tag, _)| *tag == 0x82))
        .map(|(_, name)| name);
    Some(common.chain(alternative).map(|it| String::from_utf8_lossy(it).into_owned()).collect())
}

/// The fields of the part that is signed.
fn fields(der: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let (_, certificate, _) = element(der)?;
    let (_, body, _) = element(certificate)?;
    Some(elements(body).collect())
}

/// Version, where it is not 1; number, algorithm, issuer, validity, subject.
fn subject_index(fields: &[(u8, &[u8])]) -> Option<usize> {
    Some(if fields.first()?.0 == 0xa0 { 5 } else { 4 })
}

/// The last element of a sequence that begins with this object identifier.
fn value_of<'a>(sequence: &'a [u8], identifier: &[u8]) -> Option<&'a [u8]> {
    let mut parts = elements(sequence);
    let is_it = parts.next().is_some_and(|(tag, octets)| tag == 6 && octets == identifier);
    is_it.then(|| parts.last().map(|(_, value)| value)).flatten()
}

fn elements(mut octets: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = element(octets)?;
        octets = rest;
        Some((tag, content))
    })
}

/// Tag and content of the first element, and what comes after it.
fn element(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = octets.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(first) {
        short @ 0..=127 => (short, rest),
        long => {
            let (digits, rest) = rest.split_at_checked(long - 128).filter(|_| long <= 131)?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_names_of_a_certificate_are_read_and_damage_does_no_harm() {
        let mut params =
            CertificateParams::new(["a.example.com".to_owned(), "b.example.com".to_owned()])
                .unwrap();
        params.not_after = date_time_ymd(2049, 12, 31);
        params.distinguished_name.push(DnType::CommonName, "Ädam");
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        let all = names(&der);
        assert!(all.ends_with(&["a.example.com".into(), "b.example.com".into()]), "{all:?}");
        assert!(all.contains(&"Ädam".into()), "{all:?}");
        assert!(about(&der).ends_with(", until 2049-12-31"), "{}", about(&der));
        for at in 0..der.len() {
            about(&der[..at]);
            let mut damaged = der.clone();
            damaged[at] ^= 0xff;
            about(&damaged);
        }
    }
}
