//! Says what the machine has to spare. Changes nothing.

/// What a program needs of which nothing is known.
const USUAL_BYTES: u64 = 256 << 20;
/// The machine keeps a tenth of its memory free for everybody else.
const KEPT_SHARE: u64 = 10;

/// Tells whether a program that may take this much memory can be started without taking it from anybody.
/// A system that does not say how much it has is taken to have none.
pub fn has_room_for(bytes: Option<u64>) -> bool {
    std::fs::read_to_string("/proc/meminfo").is_ok_and(|text| has_room(&text, bytes.unwrap_or(USUAL_BYTES)))
}

fn has_room(meminfo: &str, bytes: u64) -> bool {
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib.saturating_mul(1024))
    };
    let (Some(total), Some(available)) = (of("MemTotal"), of("MemAvailable")) else { return false };
    available.saturating_sub(bytes) > total / KEPT_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str =
        "MemTotal:       10000000 kB\nMemFree:          100000 kB\nMemAvailable:    2000000 kB\n";

    #[test]
    fn a_tenth_of_the_memory_is_kept_free() {
        assert!(has_room(MEMINFO, 900_000 * 1024));
        assert!(!has_room(MEMINFO, 1_100_000 * 1024));
        assert!(!has_room("", 1));
    }
}
