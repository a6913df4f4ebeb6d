//! Checks the short texts only infrastructure needs: accounts, regions, ranges of addresses, windows, dates.
//! Whether a cloud would take them is the room `infra`'s question; here they only have the right form.

use crate::sections::text::Text;
use crate::units::Refusal;
use std::net::Ipv4Addr;

macro_rules! word {
    ($name:ident, $noun:literal, $example:literal, $pattern:literal, $holds:expr) => {
        pub(crate) static $name: Text = Text {
            noun: $noun,
            example: $example,
            pattern: $pattern,
            read: |text| {
                let holds: fn(&str) -> bool = $holds;
                match holds(text) {
                    true => Ok(text.to_owned()),
                    false => Err(Refusal::new(
                        concat!("it does not have the form of ", $noun),
                        concat!("write it as \"", $example, "\""),
                    )),
                }
            },
        };
    };
}

word!(ACCOUNT, "an AWS account of 12 digits", "111111111111", "^[0-9]{12}$", |text| {
    text.len() == 12 && digits(text)
});
word!(REGION, "a region of a cloud", "eu-west-3", "^[a-z][a-z0-9-]+$", |text| {
    text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
});
word!(CIDR, "a range of IPv4 addresses", "10.0.0.0/16", r"^\d+\.\d+\.\d+\.\d+/\d+$", cidr);
word!(DATE, "a date", "2027-06-30", r"^\d{4}-\d{2}-\d{2}$", date);
word!(
    SHA256,
    "a sha256 of 64 hexadecimal digits",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "^[0-9a-f]{64}$",
    |text| {
        text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }
);
word!(REPOSITORY, "a repository as OWNER/NAME", "acme/clinic", "^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", |text| {
    text.split('/').count() == 2 && text.split('/').all(|part| !part.is_empty() && part.bytes().all(named))
});
word!(EMAIL, "an e-mail address", "ops@clinic.example", "^[^@\\s]+@[^@\\s]+$", |text| {
    let mut parts = text.split('@');
    matches!((parts.next(), parts.next(), parts.next()), (Some(left), Some(right), None) if !left.is_empty() && right.contains('.'))
        && !text.contains(char::is_whitespace)
});
word!(WINDOW, "a daily window in UTC", "03:00-04:00", r"^\d{2}:\d{2}-\d{2}:\d{2}$", |text| {
    text.split_once('-').is_some_and(|(from, to)| clock(from) && clock(to))
});
word!(
    WEEKLY,
    "a weekly window in UTC",
    "Sun:04:00-Sun:05:00",
    r"^[A-Z][a-z]{2}:\d{2}:\d{2}-[A-Z][a-z]{2}:\d{2}:\d{2}$",
    |text| { text.split_once('-').is_some_and(|(from, to)| weekly(from) && weekly(to)) }
);
word!(URL, "an https address", "https://downloads.example/medeclipse", "^https://\\S+$", |text| {
    text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
});
word!(
    UUID,
    "a UUID",
    "00000000-0000-4000-8000-000000000000",
    "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    |text| {
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    }
);
word!(IMAGE, "an image", "debian:bookworm-slim", "^[A-Za-z0-9][A-Za-z0-9._/:@-]*$", |text| {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| named(byte) || matches!(byte, b'/' | b':' | b'@'))
});
word!(WORD, "a word of letters, digits, dots, dashes and `_`", "db.m7g.large", "^[A-Za-z0-9_.-]+$", |text| {
    !text.is_empty() && text.bytes().all(named)
});
word!(
    TEMPLATE,
    "a name; `{project}`, `{env}` and `{account}` are replaced",
    "{project}-state",
    "^[A-Za-z0-9_./{}-]+$",
    |text| {
        let plain = text.replace("{project}", "").replace("{env}", "").replace("{account}", "");
        !text.is_empty() && plain.bytes().all(|byte| named(byte) || byte == b'/')
    }
);
word!(LINE, "one line of text without quotes, `$` and `%`", "MedEclipse", "^[^\"$%\\\\\\n]+$", |text| {
    !text.is_empty() && !text.contains(['"', '$', '%', '\\']) && !text.contains(char::is_control)
});
word!(SAYS, "one line of text without `$` and `%`", "ok", "^[^$%\\\\\\n]+$", |text| {
    !text.is_empty() && !text.contains(['$', '%', '\\']) && !text.contains(char::is_control)
});
word!(
    ARN,
    "the ARN of a certificate",
    "arn:aws:acm:us-east-1:111111111111:certificate/11111111-2222-3333-4444-555555555555",
    "^arn:aws:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+$",
    |text| {
        let parts: Vec<&str> = text.split(':').collect();
        matches!(parts.as_slice(), ["arn", "aws", "acm", region, account, rest]
        if !region.is_empty() && account.len() == 12 && digits(account) && rest.starts_with("certificate/") && rest.bytes().all(|byte| named(byte) || byte == b'/'))
    }
);

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn named(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

fn clock(text: &str) -> bool {
    text.len() == 5
        && text.split_once(':').is_some_and(|(hour, minute)| {
            digits(hour)
                && digits(minute)
                && hour.parse().is_ok_and(|hour: u8| hour < 24)
                && minute.parse().is_ok_and(|minute: u8| minute < 60)
        })
}

fn weekly(text: &str) -> bool {
    text.split_once(':').is_some_and(|(day, rest)| {
        ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&day) && clock(rest)
    })
}

fn cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, prefix)| {
        let (Ok(address), Ok(prefix)) = (address.parse::<Ipv4Addr>(), prefix.parse::<u32>()) else {
            return false;
        };
        // An address with bits behind the prefix is a slip: which network was meant?
        prefix <= 32 && (prefix == 0 || u64::from(u32::from(address)) % (1u64 << (32 - prefix)) == 0)
    })
}

fn date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let (Ok(year), Ok(month), Ok(day)) = (year.parse::<u32>(), month.parse::<u32>(), day.parse::<u32>())
    else {
        return false;
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    };
    text.len() == 10 && (2000..3000).contains(&year) && (1..=12).contains(&month) && (1..=days).contains(&day)
}
