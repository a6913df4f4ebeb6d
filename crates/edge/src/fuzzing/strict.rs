//! Reads requests by the letter of RFC 9112, as a careful server behind the edge would, and says where it would refuse.
//! Written apart from hyper on purpose: what both take must be the same.

/// Sizes with more digits than this are no sizes.
const DIGITS_MAX: usize = 19;

/// A request that can be read in one way only.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    /// None: not text.
    pub(super) target: Option<String>,
    /// Names in lower case, sorted by name; those of framing left out.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

/// Why nothing more was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end inside a request, or behind the last.
    Cut,
    Refused(&'static str),
    /// The head could be read, the body cannot: whoever streams it learns that in its middle.
    BadBody,
}

type Read<T> = Result<T, Stop>;

/// Returns the requests of a connection up to the first that is none.
pub(super) fn strict(mut bytes: &[u8]) -> (Vec<Request>, Stop) {
    let mut requests = Vec::new();
    loop {
        match request(&mut bytes) {
            Ok(request) => requests.push(request),
            Err(stop) => return (requests, stop),
        }
    }
}

fn request(bytes: &mut &[u8]) -> Read<Request> {
    let mut first = line(bytes)?;
    // Empty lines before a request are legal (RFC 9112, 2.2).
    while first.is_empty() {
        first = line(bytes)?;
    }
    let mut words = first.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(Stop::Refused("its first line has not three words"));
    };
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Err(Stop::Refused("its version is unknown")),
    };
    let fields = fields(bytes, line)?;
    hosts(&fields, old)?;
    let body = match framing(&fields, old)? {
        None => chunked(bytes).map_err(|stop| if stop == Stop::Cut { stop } else { Stop::BadBody })?,
        Some(length) => {
            let length = usize::try_from(length).map_err(|_| Stop::Cut)?;
            take(bytes, length)?.to_vec()
        }
    };
    let framed = ["content-length", "transfer-encoding"];
    let mut headers: Vec<_> =
        fields.into_iter().filter(|(name, _)| !framed.contains(&name.as_str())).collect();
    headers.sort_by(|(one, _), (two, _)| one.cmp(two));
    let target = std::str::from_utf8(target).ok().map(str::to_owned);
    Ok(Request { method: String::from_utf8_lossy(method).into_owned(), target, headers, body })
}

fn hosts(fields: &[(String, Vec<u8>)], old: bool) -> Read<()> {
    match (fields.iter().filter(|(name, _)| name == "host").count(), old) {
        (1, _) | (0, true) => Ok(()),
        (0, false) => Err(Stop::Refused("it has no Host")),
        _ => Err(Stop::Refused("it has two Hosts")),
    }
}

/// Returns the length of the body; None: chunked.
fn framing(fields: &[(String, Vec<u8>)], old: bool) -> Read<Option<u64>> {
    let all = |wanted: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_slice()).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    if !codings.is_empty() {
        if !lengths.is_empty() {
            return Err(Stop::Refused("it has both a length and a coding"));
        }
        if old {
            return Err(Stop::Refused("HTTP/1.0 knows no coding"));
        }
        let last = codings.last().and_then(|coding| coding.rsplit(|byte| *byte == b',').next());
        let last = last.unwrap_or_default().trim_ascii();
        return match last.eq_ignore_ascii_case(b"chunked") {
            true => Ok(None),
            false => Err(Stop::Refused("its last coding is not chunked")),
        };
    }
    let Some(first) = lengths.first() else { return Ok(Some(0)) };
    if lengths.iter().any(|length| length != first) {
        return Err(Stop::Refused("it has two lengths"));
    }
    number(first, 10).map(Some).ok_or(Stop::Refused("its length is not a number"))
}

fn chunked(bytes: &mut &[u8]) -> Read<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = whole_line(bytes)?;
        let size = size.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        let size = number(size, 16).ok_or(Stop::Refused("the size of its chunk is not a number"))?;
        if size == 0 {
            fields(bytes, whole_line)?;
            return Ok(body);
        }
        body.extend_from_slice(take(bytes, usize::try_from(size).map_err(|_| Stop::Cut)?)?);
        if !whole_line(bytes)?.is_empty() {
            return Err(Stop::Refused("its chunk does not end where it should"));
        }
    }
}

/// Reads lines of fields up to the empty one.
fn fields(
    bytes: &mut &[u8],
    line: for<'b> fn(&mut &'b [u8]) -> Read<&'b [u8]>,
) -> Read<Vec<(String, Vec<u8>)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(bytes)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Stop::Refused("a line has no colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(token) {
            return Err(Stop::Refused("the name of a field is none"));
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let from = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
        let to = value.iter().rposition(|byte| !blank(byte)).map_or(from, |at| at + 1);
        fields.push((name, value[from..to].to_vec()));
    }
}

/// Takes a line and its end.
fn line<'b>(bytes: &mut &'b [u8]) -> Read<&'b [u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Stop::Cut)?;
    let line = &bytes[..end];
    *bytes = &bytes[end + 1..];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.iter().any(|byte| *byte == b'\r' || *byte == 0) {
        true => Err(Stop::Refused("a line has a bare CR or a NUL in it")),
        false => Ok(line),
    }
}

/// Takes a line that must end with CR and LF, as those of a chunked body do.
fn whole_line<'b>(bytes: &mut &'b [u8]) -> Read<&'b [u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Stop::Cut)?;
    match bytes[..end].ends_with(b"\r") {
        true => line(bytes),
        false => Err(Stop::BadBody),
    }
}

fn take<'b>(bytes: &mut &'b [u8], length: usize) -> Read<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Stop::Cut)?;
    *bytes = rest;
    Ok(taken)
}

fn number(text: &[u8], radix: u32) -> Option<u64> {
    let digits = text.iter().all(|byte| char::from(*byte).is_digit(radix));
    let text = std::str::from_utf8(text).ok().filter(|text| digits && !text.is_empty())?;
    let text = text.trim_start_matches('0');
    if text.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(text, radix).ok().filter(|_| text.len() <= DIGITS_MAX)
}
