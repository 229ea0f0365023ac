//! Checks of single values, for declarations of keys. Each error has the value and the limit.

use std::time::Duration;

use super::units::duration_text;

type Checked = Result<(), String>;

/// An ordered value, and how an error shows it.
pub(super) trait Bounded: PartialOrd {
    fn shown(&self) -> String;
}

impl Bounded for u32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Bounded for usize {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Bounded for Duration {
    fn shown(&self) -> String {
        duration_text(*self)
    }
}

pub(super) fn at_least<T: Bounded>(least: T) -> impl Fn(&T) -> Checked {
    move |value| {
        if *value < least {
            let (value, least) = (value.shown(), least.shown());
            return Err(format!("{value}, write at least {least}"));
        }
        Ok(())
    }
}

pub(super) fn at_most<T: Bounded>(most: T) -> impl Fn(&T) -> Checked {
    move |value| {
        if *value > most {
            let (value, most) = (value.shown(), most.shown());
            return Err(format!("{value}, write at most {most}"));
        }
        Ok(())
    }
}

pub(super) fn between<T: Bounded>(least: T, most: T) -> impl Fn(&T) -> Checked {
    let (least, most) = (at_least(least), at_most(most));
    move |value| least(value).and_then(|()| most(value))
}

/// Rejects blank text; `way_out` says what to write.
pub(super) fn not_blank(way_out: &'static str) -> impl Fn(&String) -> Checked {
    move |text| {
        if text.trim().is_empty() {
            return Err(format!("is empty, {way_out}"));
        }
        Ok(())
    }
}

/// Rejects an empty list; `way_out` says what to write.
pub(super) fn not_empty<T>(way_out: &'static str) -> impl Fn(&Vec<T>) -> Checked {
    move |list| {
        if list.is_empty() {
            return Err(format!("is empty, {way_out}"));
        }
        Ok(())
    }
}
