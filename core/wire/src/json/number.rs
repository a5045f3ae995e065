//! Numbers of a JSON text, judged by their digits.
//!
//! Nobody asks a client's number for its value unless it is an integer that fits; of any other only
//! whether a double can hold it matters. So it is not computed: rounding a decimal correctly takes
//! big numbers, in work that has no relation to the length of the text. A property test compares
//! with the standard library.

/// A number of 2^1024 - 2^970 and above is rounded to infinity (IEEE 754, to nearest); so many
/// digits has it.
const INFINITE_FROM: &[u8] = b"\
    17976931348623158079372897140530341507993413271003782693617377898044496829276475\
    09466490179775872070963302864166928879109465555478519404026306574886715058206819\
    08902000708383676273854845817711531764475730270069855571366959622842914819860834\
    936475292719074168444365510704342711559699508093042880177904174497792";

/// A number that has fewer characters than this, and no exponent, is finite.
pub(super) const DIGITS_FINITE: usize = INFINITE_FROM.len();

/// Whether a number, written as JSON writes one, is within the doubles.
pub(super) fn is_finite(number: &str) -> bool {
    let number = number.strip_prefix('-').unwrap_or(number).as_bytes();
    let mantissa_bytes =
        number.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(number.len());
    let (mantissa, exponent) = number.split_at(mantissa_bytes);
    let whole_bytes = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
    let digits = mantissa.iter().filter(|&&byte| byte != b'.');
    let zeros = digits.clone().take_while(|&&digit| digit == b'0').count();
    // Digits ahead of the point, counted from the first that is not zero.
    let ahead = whole_bytes as i64 - zeros as i64 + power(exponent.get(1..).unwrap_or_default());
    match ahead.cmp(&(INFINITE_FROM.len() as i64)) {
        // Also where all are zeros, however large the exponent: see below.
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Greater => digits.clone().all(|&digit| digit == b'0'),
        std::cmp::Ordering::Equal => digits.skip(zeros).lt(INFINITE_FROM),
    }
}

/// An exponent; one that no text could make up for with its digits stands for all that are larger.
fn power(exponent: &[u8]) -> i64 {
    const FAR: i64 = 1 << 40;
    let (negative, digits) = match exponent {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let power =
        digits.iter().fold(0, |power: i64, &digit| (power * 10 + i64::from(digit - b'0')).min(FAR));
    if negative { -power } else { power }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_value(number: &str) -> bool {
        number.parse::<f64>().expect("a number").is_finite()
    }

    #[test]
    fn the_edge_of_the_doubles_is_told_to_the_last_digit() {
        let edge = std::str::from_utf8(INFINITE_FROM).expect("digits");
        assert_eq!(edge.len(), 309);
        let below = format!("{}79", &edge[..307]);
        for number in [
            edge,
            &below,
            &format!("{edge}.0"),
            &format!("{below}.9999999"),
            &format!("-{edge}"),
            &format!("0.{edge}e309"),
            &format!("0.000{below}e312"),
            &format!("{edge}0e-1"),
            "1e308",
            "1e309",
            "1.7976931348623157e308",
            "1.7976931348623159e308",
            "0e999999999999999999999999",
            "0.0000e400",
            "1e-999999999999999999999999",
            "2.4703282292062327208e-324",
            "0",
            "-0.0",
        ] {
            assert_eq!(is_finite(number), by_value(number), "{number}");
        }
        assert!(!is_finite(edge) && is_finite(&below));
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_value(
            number in "-?(0|[1-9][0-9]{0,320})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        ) {
            prop_assert_eq!(is_finite(&number), by_value(&number));
        }

        #[test]
        fn it_agrees_near_the_edge(
            zeros in "0{0,12}", digits in "1797693134862315[0-9]{1,8}", less in 0_i32..3,
        ) {
            let power = 307 + zeros.len() as i32 + 2 - less;
            let number = format!("0.{zeros}{digits}e{power}");
            prop_assert_eq!(is_finite(&number), by_value(&number));
        }
    }
}
