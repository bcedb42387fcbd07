//! [`Op`] and [`Script`]: what is done, one line each, readable and replayable.
//!
//! Everything has a number that the line which made it gives; a line about a number that is not there (any more) does
//! nothing, so lines can be left out at will.
//!
//! ```text
//! pipe 0 1                    0 reads, 1 writes
//! unix 2 3 | tcp 4 5          a connected pair
//! eventfd 6 1 | instance 7
//! dup 2 8                     a second descriptor of 2's file; in egret a second Fd
//! tag 2 9                     the same; in egret the same Fd, another tag
//! add 7 2 IN|ET 0x2a          instance 7 watches 2 with data 42; mod likewise; del 7 2
//! addfile 7                   a regular file
//! write 3 100 | fill 3 | read 2 10 | drain 2 | urgent 5
//! shutdown 3 write            or read, or both
//! close 2 | reset 4           reset: close that throws away what was not sent (TCP)
//! wait 7 3                    at most three events, timeout zero
//! ```

use egret_reactor::Events;
use std::fmt;
use std::str::FromStr;

/// The number of a descriptor.
pub type Number = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Read,
    Write,
    Both,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Pipe(Number, Number),
    Unix(Number, Number),
    Tcp(Number, Number),
    Eventfd(Number, u32),
    Instance(Number),
    Dup(Number, Number),
    Tag(Number, Number),
    Add { instance: Number, target: Number, mask: u32, data: u64 },
    Modify { instance: Number, target: Number, mask: u32, data: u64 },
    Remove { instance: Number, target: Number },
    AddFile(Number),
    Write(Number, usize),
    Fill(Number),
    Read(Number, usize),
    Drain(Number),
    Urgent(Number),
    Shutdown(Number, Half),
    Close(Number),
    Reset(Number),
    Wait { instance: Number, max: usize },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script(pub Vec<Op>);

const NAMES: [(&str, u32); 15] = [
    ("IN", 0x1),
    ("PRI", 0x2),
    ("OUT", 0x4),
    ("ERR", 0x8),
    ("HUP", 0x10),
    ("RDNORM", 0x40),
    ("RDBAND", 0x80),
    ("WRNORM", 0x100),
    ("WRBAND", 0x200),
    ("MSG", 0x400),
    ("RDHUP", 0x2000),
    ("EXCLUSIVE", Events::EXCLUSIVE.bits()),
    ("WAKEUP", Events::WAKEUP.bits()),
    ("ONESHOT", Events::ONESHOT.bits()),
    ("ET", Events::ET.bits()),
];

/// A mask as text, bits without a name in hexadecimal.
pub fn mask_name(mask: u32) -> String {
    let mut left = mask;
    let mut words: Vec<String> = Vec::new();
    for (name, bit) in NAMES {
        if mask & bit != 0 {
            words.push(name.into());
            left &= !bit;
        }
    }
    if left != 0 || words.is_empty() {
        words.push(format!("{left:#x}"));
    }
    words.join("|")
}

fn mask_value(text: &str) -> Option<u32> {
    text.split('|').try_fold(0, |mask, word| {
        let named = NAMES.iter().find(|(name, _)| *name == word).map(|(_, bit)| *bit);
        named.or_else(|| number(word).map(|bits| bits as u32)).map(|bits| mask | bits)
    })
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Pipe(a, b) => write!(f, "pipe {a} {b}"),
            Op::Unix(a, b) => write!(f, "unix {a} {b}"),
            Op::Tcp(a, b) => write!(f, "tcp {a} {b}"),
            Op::Eventfd(a, value) => write!(f, "eventfd {a} {value}"),
            Op::Instance(a) => write!(f, "instance {a}"),
            Op::Dup(of, new) => write!(f, "dup {of} {new}"),
            Op::Tag(of, new) => write!(f, "tag {of} {new}"),
            Op::Add { instance, target, mask, data } => {
                write!(f, "add {instance} {target} {} {data:#x}", mask_name(*mask))
            }
            Op::Modify { instance, target, mask, data } => {
                write!(f, "mod {instance} {target} {} {data:#x}", mask_name(*mask))
            }
            Op::Remove { instance, target } => write!(f, "del {instance} {target}"),
            Op::AddFile(instance) => write!(f, "addfile {instance}"),
            Op::Write(a, n) => write!(f, "write {a} {n}"),
            Op::Fill(a) => write!(f, "fill {a}"),
            Op::Read(a, n) => write!(f, "read {a} {n}"),
            Op::Drain(a) => write!(f, "drain {a}"),
            Op::Urgent(a) => write!(f, "urgent {a}"),
            Op::Shutdown(a, half) => {
                let half = match half {
                    Half::Read => "read",
                    Half::Write => "write",
                    Half::Both => "both",
                };
                write!(f, "shutdown {a} {half}")
            }
            Op::Close(a) => write!(f, "close {a}"),
            Op::Reset(a) => write!(f, "reset {a}"),
            Op::Wait { instance, max } => write!(f, "wait {instance} {max}"),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        parse(line).ok_or_else(|| format!("not an operation: {line:?}"))
    }
}

fn parse(line: &str) -> Option<Op> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = |index: usize| words.get(index).and_then(|word| number(word));
    let id = |index: usize| at(index).map(|n| n as Number);
    let interest = || Some((id(1)?, id(2)?, mask_value(words.get(3)?)?, at(4)?));
    Some(match *words.first()? {
        "pipe" => Op::Pipe(id(1)?, id(2)?),
        "unix" => Op::Unix(id(1)?, id(2)?),
        "tcp" => Op::Tcp(id(1)?, id(2)?),
        "eventfd" => Op::Eventfd(id(1)?, id(2)?),
        "instance" => Op::Instance(id(1)?),
        "dup" => Op::Dup(id(1)?, id(2)?),
        "tag" => Op::Tag(id(1)?, id(2)?),
        "add" => {
            let (instance, target, mask, data) = interest()?;
            Op::Add { instance, target, mask, data }
        }
        "mod" => {
            let (instance, target, mask, data) = interest()?;
            Op::Modify { instance, target, mask, data }
        }
        "del" => Op::Remove { instance: id(1)?, target: id(2)? },
        "addfile" => Op::AddFile(id(1)?),
        "write" => Op::Write(id(1)?, at(2)? as usize),
        "fill" => Op::Fill(id(1)?),
        "read" => Op::Read(id(1)?, at(2)? as usize),
        "drain" => Op::Drain(id(1)?),
        "urgent" => Op::Urgent(id(1)?),
        "shutdown" => Op::Shutdown(
            id(1)?,
            match *words.get(2)? {
                "read" => Half::Read,
                "write" => Half::Write,
                "both" => Half::Both,
                _ => return None,
            },
        ),
        "close" => Op::Close(id(1)?),
        "reset" => Op::Reset(id(1)?),
        "wait" => Op::Wait { instance: id(1)?, max: at(2)? as usize },
        _ => return None,
    })
}

impl FromStr for Script {
    type Err = String;

    /// Lines, with empty ones and what follows a `#` left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
        lines.filter(|line| !line.is_empty()).map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}
