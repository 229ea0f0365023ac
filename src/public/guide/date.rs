//! The `Date` field of a stream's head, which bypasses hyper. It is formatted once per second on each shard.

use std::cell::RefCell;

use chrono::DateTime;

thread_local! {
    static LATEST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Appends the time in the format of RFC 9110, 5.6.7.
pub(crate) fn write(unix_s: u64, head: &mut Vec<u8>) {
    LATEST.with_borrow_mut(|(of_s, text)| {
        if *of_s != unix_s {
            *of_s = unix_s;
            *text = format(unix_s);
        }
        head.extend_from_slice(text.as_bytes());
    });
}

fn format(unix_s: u64) -> String {
    let time = i64::try_from(unix_s)
        .ok()
        .and_then(|unix_s| DateTime::from_timestamp(unix_s, 0))
        .unwrap_or_default();
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own_date() {
        let date = |unix_s| {
            let mut head = Vec::new();
            write(unix_s, &mut head);
            String::from_utf8(head).unwrap()
        };
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(784_111_778), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
