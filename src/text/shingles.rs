//! Texts as sets of shingles: hashes of a few neighbouring tokens. Equal on every machine and in every version.

/// FNV-1a, 64 bits.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;
/// From here on scripts put no spaces between words (Chinese, Japanese): each character is a token.
const UNSPACED: char = '\u{2e80}';

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The tokens of a program or a text: words (letters, digits and `_`), and every other character but white space.
pub fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let len = match is_word(first) && first < UNSPACED {
            true => rest.find(|c| !is_word(c) || c >= UNSPACED).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (token, after) = rest.split_at(len);
        rest = after;
        Some(token)
    })
}

/// The words of a program or a text: its tokens without punctuation.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    tokens(text).filter(|token| token.starts_with(is_word))
}

/// Hash of a token, whatever the case of its ASCII letters.
pub fn token_hash(token: &str) -> u64 {
    token.bytes().fold(BASIS, |hash, byte| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(PRIME))
}

/// Hash of neighbouring tokens, given by their hashes.
pub fn gram_hash(tokens: &[u64]) -> u64 {
    mix(tokens.iter().fold(BASIS, |hash, token| (hash.rotate_left(23) ^ token).wrapping_mul(PRIME)))
}

/// Spreads the bits of `hash` over all of it.
pub fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The hashes of all runs of `size` tokens of `text`, sorted, each once; of all its tokens together where there are fewer.
pub fn shingles(text: &str, size: usize) -> Vec<u32> {
    let tokens: Vec<u64> = tokens(text).map(token_hash).collect();
    let size = size.clamp(1, tokens.len().max(1));
    let mut shingles: Vec<u32> = tokens.windows(size).map(|gram| (gram_hash(gram) >> 32) as u32).collect();
    shingles.sort_unstable();
    shingles.dedup();
    shingles
}

/// Jaccard similarity of two sets of shingles: shared ones by all. 0 when one is empty.
pub fn jaccard(a: &[u32], b: &[u32]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        shared += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    let all = a.len() + b.len() - shared;
    if all == 0 { 0.0 } else { shared as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_words_and_signs() {
        let of = |text: &'static str| tokens(text).collect::<Vec<_>>();
        assert_eq!(of("x_1 += f(Y);\n\t//é"), ["x_1", "+", "=", "f", "(", "Y", ")", ";", "/", "/", "é"]);
        assert_eq!(of("ab排序c"), ["ab", "排", "序", "c"]);
        assert_eq!(of(" \n"), [""; 0]);
        assert_eq!(words("return a[0] -> 排。").collect::<Vec<_>>(), ["return", "a", "0", "排"]);
    }

    #[test]
    fn layout_and_case_do_not_count() {
        let same = shingles("int  Main ( ) {\n}", 5);
        assert_eq!(shingles("int main(){}", 5), same);
        assert_eq!(same.len(), 2);
        assert_ne!(shingles("int main(){;}", 5), same);
        assert_eq!(shingles("two words", 5).len(), 1);
        assert!(shingles("", 5).is_empty());
    }

    #[test]
    fn an_empty_set_is_like_nothing() {
        assert_eq!(jaccard(&[], &[]), 0.0);
        assert_eq!(jaccard(&[1], &[]), 0.0);
        assert_eq!(jaccard(&[1, 2, 3], &[2, 3, 4]), 0.5);
    }

    proptest! {
        #[test]
        fn tokens_leave_out_nothing_but_white_space(text in any::<String>()) {
            let kept: String = tokens(&text).collect();
            let all: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            prop_assert_eq!(kept, all);
        }

        #[test]
        fn jaccard_is_that_of_the_sets(a: BTreeSet<u8>, b: BTreeSet<u8>) {
            let sorted = |set: &BTreeSet<u8>| set.iter().map(|n| u32::from(*n)).collect::<Vec<_>>();
            let all = a.union(&b).count();
            let expected = if all == 0 { 0.0 } else { a.intersection(&b).count() as f64 / all as f64 };
            prop_assert_eq!(jaccard(&sorted(&a), &sorted(&b)), expected);
        }
    }
}
