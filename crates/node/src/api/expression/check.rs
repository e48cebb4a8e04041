//! What an expression would cost, and what is wrong with it whatever it is evaluated for.
//!
//! The library evaluates to the end, however long that takes and however much memory. So each expression is estimated before:
//! how many steps it takes at most, and how large the values are that it makes. Calls with nothing but literals
//! are evaluated, and patterns compiled, so that a mistake in them is told with its place.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo};
use cel::{Context, Env, ExecutionError, IdedExpr, Program};
use regex::{Regex, RegexBuilder};
use unisono_model::limits::{MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_NAME_BYTES};

use super::{VARIABLES, refused};
use crate::api::problem::{Answer, ApiError};

/// How deep its tree may be.
pub(super) const DEEPEST: usize = 100;
/// How many loops may lie in one another.
const MOST_LOOPS: usize = 2;
/// Steps that evaluating it once may take. One takes less than a microsecond.
const MOST_STEPS: u64 = 500_000;
/// Elements and characters that a value may have which it makes.
const MOST_SIZE: u64 = 1_000_000;
/// Steps that searching a text for a pattern counts as.
const STEPS_OF_A_PATTERN: u64 = 1_000;
/// Memory that a pattern may take when it is compiled.
const PATTERN_BYTES: usize = 512 * 1024;

/// The patterns of an expression, compiled.
pub(super) type Patterns = Arc<HashMap<String, Regex>>;

/// Looks through an expression: the variables that it has, and its patterns.
pub(super) fn check(env: &Arc<Env>, program: &Program) -> Answer<(HashSet<&'static str>, Patterns)> {
    let mut check = Check {
        source: program.source_info(),
        constants: Context::with_env(Arc::clone(env)),
        bound: Vec::new(),
        loops: 0,
        variables: HashSet::new(),
        patterns: HashMap::new(),
    };
    check.expression(program.expression(), 0)?;
    Ok((check.variables, Arc::new(check.patterns)))
}

/// What evaluating a part takes at most, and what comes of it.
#[derive(Clone, Copy, Default)]
struct Estimate {
    steps: u64,
    /// Elements, if it is a list or a map.
    items: u64,
    /// The size of the largest of these.
    item: u64,
    /// Whether one of these may be a list or a map itself.
    is_deep: bool,
    /// Elements and characters, those of elements included.
    size: u64,
}

impl Estimate {
    fn text(bytes: usize) -> Self {
        let size = bytes as u64;
        Self {
            size,
            ..Self::default()
        }
    }

    fn list(items: usize, item: usize) -> Self {
        let (items, item) = (items as u64, item as u64);
        Self {
            items,
            item,
            size: items * (item + 1),
            ..Self::default()
        }
    }

    fn of_variable(name: &str) -> Self {
        match name {
            "labels" => Self::list(MAX_LABELS, MAX_NAME_BYTES + MAX_LABEL_VALUE_BYTES),
            "waitingFor" => Self::list(8, 16),
            _ => Self::text(MAX_LABEL_VALUE_BYTES),
        }
    }

    /// One element, of which nothing is known but how large it is at most.
    fn element(&self) -> Self {
        Self {
            items: if self.is_deep { self.item } else { 0 },
            item: self.item,
            size: self.item,
            is_deep: self.is_deep,
            steps: 0,
        }
    }

    /// What is made of both: their sum at most.
    fn and(self, other: Self) -> Self {
        Self {
            steps: self.steps.saturating_add(other.steps),
            items: self.items.saturating_add(other.items),
            item: self.item.max(other.item),
            size: self.size.saturating_add(other.size),
            is_deep: self.is_deep || other.is_deep,
        }
    }

    /// A list or map gets one element more.
    fn with(self, element: Self) -> Self {
        Self {
            steps: self.steps.saturating_add(element.steps),
            items: self.items + 1,
            item: self.item.max(element.size),
            size: self.size.saturating_add(element.size).saturating_add(1),
            is_deep: self.is_deep || element.items > 0,
        }
    }
}

struct Check<'a> {
    source: &'a SourceInfo,
    /// Where what has no variables is evaluated.
    constants: Context<'a, 'static>,
    /// The variables of the loops around, with what they hold at most.
    bound: Vec<(&'a str, Estimate)>,
    loops: usize,
    variables: HashSet<&'static str>,
    patterns: HashMap<String, Regex>,
}

impl<'a> Check<'a> {
    fn expression(&mut self, at: &'a IdedExpr, depth: usize) -> Answer<Estimate> {
        if depth > DEEPEST {
            return Err(self.refused(at, &format!("it is nested more than {DEEPEST} deep")));
        }
        let mut estimate = self.parts(at, depth + 1)?;
        estimate.steps = estimate.steps.saturating_add(1 + estimate.size / 1_024);
        if estimate.steps > MOST_STEPS {
            let what = format!("it takes up to {} steps; the limit is {MOST_STEPS}", estimate.steps);
            return Err(self.refused(at, &what));
        }
        if estimate.size > MOST_SIZE {
            let what = format!(
                "it makes a value of up to {} elements or characters; the limit is {MOST_SIZE}",
                estimate.size
            );
            return Err(self.refused(at, &what));
        }
        Ok(estimate)
    }

    fn parts(&mut self, at: &'a IdedExpr, depth: usize) -> Answer<Estimate> {
        match &at.expr {
            Expr::Unspecified => Ok(Estimate::default()),
            Expr::Literal(LiteralValue::String(text)) => Ok(Estimate::text(text.inner().len())),
            Expr::Literal(_) => Ok(Estimate::text(32)),
            Expr::Ident(name) => self.variable(at, name),
            Expr::Select(select) => {
                let from = self.expression(&select.operand, depth)?;
                Ok(Estimate {
                    steps: from.steps,
                    ..from.element()
                })
            }
            Expr::Call(call) => self.call(at, call, depth),
            Expr::List(list) => {
                let mut made = Estimate::default();
                for element in &list.elements {
                    made = made.with(self.expression(element, depth)?);
                }
                Ok(made)
            }
            Expr::Map(map) => {
                let mut made = Estimate::default();
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        let key = self.expression(&entry.key, depth)?;
                        made = made.with(key.and(self.expression(&entry.value, depth)?));
                    }
                }
                Ok(made)
            }
            Expr::Struct(_) => Err(self.refused(at, "there are no messages to be made here")),
            Expr::Comprehension(comprehension) => self.comprehension(at, comprehension, depth),
        }
    }

    fn variable(&mut self, at: &IdedExpr, name: &str) -> Answer<Estimate> {
        if let Some((_, estimate)) = self.bound.iter().rev().find(|(bound, _)| *bound == name) {
            return Ok(*estimate);
        }
        match VARIABLES.into_iter().find(|known| *known == name) {
            Some(known) => {
                self.variables.insert(known);
                Ok(Estimate::of_variable(known))
            }
            // The name of a type, such as `int` in `type(version) == int`.
            None if TYPES.contains(&name) => Ok(Estimate::default()),
            None => Err(self.refused(at, &format!("there is no variable \"{name}\""))),
        }
    }

    fn call(&mut self, at: &'a IdedExpr, call: &'a CallExpr, depth: usize) -> Answer<Estimate> {
        let mut made = Estimate::default();
        let parts = call.target.iter().map(|target| &**target).chain(&call.args);
        for part in parts.clone() {
            made = made.and(self.expression(part, depth)?);
        }
        if call.func_name == "matches" {
            self.pattern(call.args.last().unwrap_or(at))?;
            made.steps = made.steps.saturating_add(STEPS_OF_A_PATTERN);
        } else if parts.clone().all(|part| matches!(part.expr, Expr::Literal(_))) {
            self.constant(at)?;
        }
        if call.func_name == "_[_]" {
            return Ok(Estimate {
                steps: made.steps,
                ..made.element()
            });
        }
        // Comparing, searching and joining look at each element.
        made.steps = made.steps.saturating_add(made.items);
        if JUDGES.contains(&call.func_name.as_str()) {
            return Ok(Estimate {
                steps: made.steps,
                ..Estimate::default()
            });
        }
        Ok(made)
    }

    /// Evaluates what is the same for every orchestration.
    fn constant(&mut self, at: &IdedExpr) -> Answer<()> {
        match self.constants.resolve(at) {
            Ok(_) => Ok(()),
            Err(ExecutionError::FunctionError { message, .. }) => Err(self.refused(at, &message)),
            Err(error) => Err(self.refused(at, &error.to_string())),
        }
    }

    fn pattern(&mut self, at: &IdedExpr) -> Answer<()> {
        let Expr::Literal(LiteralValue::String(pattern)) = &at.expr else {
            return Err(self.refused(at, "a pattern is a text that stands here, in quotes"));
        };
        let compiled = RegexBuilder::new(pattern.inner())
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES)
            .build();
        match compiled {
            Ok(compiled) => {
                self.patterns.insert(pattern.inner().to_owned(), compiled);
                Ok(())
            }
            Err(regex::Error::CompiledTooBig(limit)) => {
                Err(self.refused(at, &format!("the pattern takes more than {limit} bytes of memory")))
            }
            Err(error) => Err(self.refused(at, &error.to_string())),
        }
    }

    fn comprehension(&mut self, at: &'a IdedExpr, it: &'a ComprehensionExpr, depth: usize) -> Answer<Estimate> {
        if self.loops == MOST_LOOPS {
            return Err(self.refused(at, &format!("more than {MOST_LOOPS} loops lie in one another")));
        }
        let range = self.expression(&it.iter_range, depth)?;
        let begin = self.expression(&it.accu_init, depth)?;
        let outside = self.bound.len();
        self.bound.push((&it.iter_var, range.element()));
        self.bound
            .extend(it.iter_var2.as_deref().map(|name| (name, range.element())));
        // What one round adds; what it has from the rounds before is counted below.
        self.bound.push((&it.accu_var, Estimate::default()));
        self.loops += 1;
        let condition = self.expression(&it.loop_cond, depth)?;
        let step = self.expression(&it.loop_step, depth)?;
        let result = self.expression(&it.result, depth)?;
        self.loops -= 1;
        self.bound.truncate(outside);
        let round = condition.steps.saturating_add(step.steps);
        Ok(Estimate {
            steps: [
                range.steps,
                begin.steps,
                range.items.saturating_mul(round),
                result.steps,
            ]
            .into_iter()
            .fold(0, u64::saturating_add),
            items: begin.items.saturating_add(range.items.saturating_mul(step.items)),
            item: begin.item.max(step.item),
            size: begin.size.saturating_add(range.items.saturating_mul(step.size)),
            is_deep: begin.is_deep || step.is_deep,
        })
    }

    fn refused(&self, at: &IdedExpr, what: &str) -> ApiError {
        match self.source.offset_for(at.id) {
            Some((start, _)) => {
                let (line, column) = place(&self.source.source, start as usize);
                refused(format!(
                    "the filter cannot be used at line {line}, column {column}: {what}"
                ))
            }
            None => refused(format!("the filter cannot be used: {what}")),
        }
    }
}

/// Calls of which no more comes than true or false, or a number, whatever they are given.
const JUDGES: [&str; 17] = [
    "_==_",
    "_!=_",
    "_<_",
    "_<=_",
    "_>_",
    "_>=_",
    "_&&_",
    "_||_",
    "!_",
    "@in",
    "@not_strictly_false",
    "contains",
    "endsWith",
    "matches",
    "size",
    "startsWith",
    "type",
];

const TYPES: [&str; 11] = [
    "bool",
    "bytes",
    "double",
    "duration",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "timestamp",
    "uint",
];

/// Line and column, from 1, of a byte.
fn place(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
