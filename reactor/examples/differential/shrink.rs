//! Delta debugging (Zeller and Hildebrandt 2002): the shortest script we can find that still shows a difference.

use crate::script::{Op, Script};

/// Leaves lines out as long as `differs` stays true, then makes what is left simpler.
pub fn shrink(script: &Script, differs: &mut dyn FnMut(&Script) -> bool) -> Script {
    let mut ops = script.0.clone();
    loop {
        let before = ops.clone();
        leave_out(&mut ops, differs);
        simplify(&mut ops, differs);
        if ops == before {
            return Script(ops);
        }
    }
}

fn leave_out(ops: &mut Vec<Op>, differs: &mut dyn FnMut(&Script) -> bool) {
    let mut chunk = ops.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < ops.len() {
            let end = (at + chunk).min(ops.len());
            let fewer: Vec<Op> = [&ops[..at], &ops[end..]].concat();
            if differs(&Script(fewer.clone())) {
                *ops = fewer;
            } else {
                at = end;
            }
        }
        chunk /= 2;
    }
}

fn simplify(ops: &mut [Op], differs: &mut dyn FnMut(&Script) -> bool) {
    for at in 0..ops.len() {
        for simpler in simpler(&ops[at], at) {
            let before = std::mem::replace(&mut ops[at], simpler);
            if ops[at] == before || !differs(&Script(ops.to_vec())) {
                ops[at] = before;
            }
        }
    }
}

/// Simpler lines for one line, the simplest first.
fn simpler(op: &Op, at: usize) -> Vec<Op> {
    let masks = |mask: u32| {
        let bits = (0..32).map(|bit| 1 << bit).filter(move |bit| mask & bit != 0);
        bits.map(move |bit| mask & !bit)
    };
    match op.clone() {
        Op::Add { instance, target, mask, .. } => {
            let data = at as u64;
            let make = |mask| Op::Add { instance, target, mask, data };
            std::iter::once(mask).chain(masks(mask)).map(make).collect()
        }
        Op::Modify { instance, target, mask, .. } => {
            let data = at as u64;
            let make = |mask| Op::Modify { instance, target, mask, data };
            std::iter::once(mask).chain(masks(mask)).map(make).collect()
        }
        Op::Write(a, _) => vec![Op::Write(a, 1)],
        Op::Fill(a) => vec![Op::Write(a, 1)],
        Op::Read(a, _) => vec![Op::Read(a, 1), Op::Drain(a)],
        Op::Wait { instance, .. } => vec![Op::Wait { instance, max: 64 }],
        Op::Reset(a) => vec![Op::Close(a)],
        Op::Tcp(a, b) => vec![Op::Unix(a, b)],
        _ => Vec::new(),
    }
}
