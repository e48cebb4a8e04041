//! Filter expressions: the Common Expression Language over what lists show of an orchestration.
//!
//! An expression is compiled and evaluated on a thread with a stack of its own, because the library recurses as deep as an
//! expression is nested. What it may cost is bounded before it is evaluated (`check.rs`).

mod check;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cel::extractors::This;
use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, ParseErrors, Program, Value};
use tokio::sync::{Semaphore, oneshot};
use unisono_model::api::{OrchestrationState, OrchestrationSummary, WaitReason};
use unisono_model::ids::Timestamp;
use unisono_model::name::Name;
use unisono_store::RunKey;

use self::check::{DEEPEST, Patterns, check};
use super::now;
use super::problem::{Answer, ApiError};

/// Bytes of an expression.
const MOST_BYTES: usize = 4_096;
/// Expressions that are kept compiled.
const MOST_KEPT: usize = 128;
/// Threads that compile and evaluate at a time.
const THREADS: usize = 4;
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// How long runs are compared before what was found is given out.
const LONGEST: Duration = Duration::from_secs(1);

const VARIABLES: [&str; 10] = [
    "id",
    "type",
    "version",
    "state",
    "correlationId",
    "labels",
    "createdAt",
    "endedAt",
    "waitingFor",
    "now",
];

/// An expression that can be evaluated.
#[derive(Debug)]
pub(super) struct Expression {
    program: Program,
    variables: HashSet<&'static str>,
    patterns: Patterns,
}

/// The compiled expressions of a server.
pub(crate) struct Expressions {
    env: Arc<Env>,
    compiled: Mutex<HashMap<String, Arc<Expression>>>,
    threads: Arc<Semaphore>,
}

impl Default for Expressions {
    fn default() -> Self {
        Self {
            env: Arc::new(Env::stdlib()),
            compiled: Mutex::default(),
            threads: Arc::new(Semaphore::new(THREADS)),
        }
    }
}

/// Runs with what lists show of them.
pub(super) type Found = Vec<(RunKey, OrchestrationSummary)>;

impl Expressions {
    /// Compiles an expression, or finds it compiled.
    pub(super) async fn compile(&self, text: &str) -> Answer<Arc<Expression>> {
        if let Some(known) = self.compiled().get(text) {
            return Ok(Arc::clone(known));
        }
        if text.len() > MOST_BYTES {
            let detail = format!("the filter is {} bytes long; the limit is {MOST_BYTES}", text.len());
            return Err(refused(detail));
        }
        let (env, source) = (Arc::clone(&self.env), text.to_owned());
        let expression = self.on_thread(move || compile(&env, &source)).await??;
        let mut compiled = self.compiled();
        if compiled.len() >= MOST_KEPT {
            compiled.clear();
        }
        Ok(Arc::clone(
            compiled.entry(text.to_owned()).or_insert(Arc::new(expression)),
        ))
    }

    /// Keeps the runs for which it is true. When that takes too long, also says up to which run it was evaluated.
    pub(super) async fn keep(&self, expression: &Arc<Expression>, runs: Found) -> Answer<(Found, Option<RunKey>)> {
        let (env, expression) = (Arc::clone(&self.env), Arc::clone(expression));
        let keep = move || {
            let (begin, now) = (Instant::now(), now());
            let (mut kept, mut seen) = (Found::new(), None);
            for (run, summary) in runs {
                if begin.elapsed() > LONGEST && seen.is_some() {
                    return Ok((kept, seen));
                }
                if expression.takes(&env, &summary, now)? {
                    kept.push((run, summary));
                }
                seen = Some(run);
            }
            Ok((kept, None))
        };
        self.on_thread(keep).await?
    }

    fn compiled(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Expression>>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn on_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        let failed = |error: String| ApiError::internal(format!("a filter could not be evaluated: {error}"));
        let permit = Arc::clone(&self.threads)
            .acquire_owned()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name("filter".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _ = sender.send(work());
                drop(permit);
            })
            .map_err(|error| failed(error.to_string()))?;
        receiver.await.map_err(|error| failed(error.to_string()))
    }
}

fn refused(detail: String) -> ApiError {
    ApiError::bad_request("bad-filter", detail)
        .field("filter")
        .help(format!(
            "a filter is an expression of CEL (https://cel.dev) that is true or false, such as labels.team == \"blue\" && \
             endedAt - createdAt > duration(\"5m\"); it knows {}",
            VARIABLES.join(", ")
        ))
}

fn compile(env: &Arc<Env>, source: &str) -> Answer<Expression> {
    let program = env.compile(source).map_err(|errors| malformed(&errors))?;
    let (variables, patterns) = check(env, &program)?;
    let expression = Expression {
        program,
        variables,
        patterns,
    };
    // What is of the wrong type for every orchestration is told now, and not for the first that is looked at.
    for sample in samples().into_iter().flatten() {
        expression.takes(env, &sample, now())?;
    }
    Ok(expression)
}

fn malformed(errors: &ParseErrors) -> ApiError {
    let Some(first) = errors.errors.first() else {
        return refused("the filter cannot be read".to_owned());
    };
    let (line, column) = first.pos;
    let what = match first.msg.trim_start_matches("Syntax error: ") {
        deep if deep.contains("Recursion limit") => format!("it is nested more than {DEEPEST} deep"),
        what => what.to_owned(),
    };
    refused(format!(
        "the filter cannot be read at line {line}, column {column}: {what}"
    ))
}

impl Expression {
    /// Whether it is true. What an orchestration does not have, such as a label, makes it false.
    fn takes(&self, env: &Arc<Env>, run: &OrchestrationSummary, now: Timestamp) -> Answer<bool> {
        let mut context = Context::with_env(Arc::clone(env));
        for name in &self.variables {
            if let Some(value) = variable(name, run, now) {
                context.add_variable_from_value(*name, value);
            }
        }
        if !self.patterns.is_empty() {
            let patterns = Arc::clone(&self.patterns);
            let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| {
                patterns.get(&*pattern).is_some_and(|pattern| pattern.is_match(&text))
            };
            let added = context.add_function("matches", matches);
            added.map_err(|error| ApiError::internal(format!("a filter could not be evaluated: {error:?}")))?;
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(takes)) => Ok(takes),
            Ok(other) => Err(refused(format!(
                "the filter is not true or false: it gives a value of type {}",
                other.type_of()
            ))),
            Err(error) if is_about_the_run(&error) => Ok(false),
            Err(error) => Err(refused(format!("the filter cannot be evaluated: {error}"))),
        }
    }
}

/// Whether an expression makes sense, only not for this orchestration.
fn is_about_the_run(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::NoSuchKey(_)
        | ExecutionError::IndexOutOfBounds(_)
        | ExecutionError::FunctionError { .. }
        | ExecutionError::DivisionByZero(_)
        | ExecutionError::RemainderByZero(_)
        | ExecutionError::Overflow(..) => true,
        ExecutionError::UndeclaredReference(name) => VARIABLES.contains(&name.as_str()),
        _ => false,
    }
}

/// A variable of a run; `None` where it has none.
fn variable(name: &str, run: &OrchestrationSummary, now: Timestamp) -> Option<Value> {
    let text = |text: &str| Value::String(Arc::new(text.to_owned()));
    Some(match name {
        "id" => text(&run.id),
        "type" => text(&run.r#type),
        "version" => Value::Int(i64::from(run.version)),
        "state" => text(run.state.as_str()),
        "correlationId" => text(run.correlation_id.as_deref()?),
        "labels" => {
            let labels = run.labels.iter();
            let labels = labels.map(|(key, value)| (Key::String(Arc::new(key.clone())), text(value)));
            Value::Map(Map {
                map: Arc::new(labels.collect()),
            })
        }
        "createdAt" => instant(run.created_at)?,
        "endedAt" => instant(run.ended_at?)?,
        "waitingFor" => {
            let reasons = run.waiting_for.iter().map(|reason| text(reason.as_str()));
            Value::List(Arc::new(reasons.collect()))
        }
        "now" => instant(now)?,
        _ => return None,
    })
}

fn instant(at: Timestamp) -> Option<Value> {
    let at = chrono::DateTime::from_timestamp_millis(at.0)?;
    Some(Value::Timestamp(at.fixed_offset()))
}

/// One that has ended, and one that is open.
fn samples() -> Option<[OrchestrationSummary; 2]> {
    let name = Name::parse("sample").ok()?;
    let ended = OrchestrationSummary {
        id: name.clone(),
        r#type: name,
        version: 1,
        state: OrchestrationState::Completed,
        correlation_id: Some(String::new()),
        labels: Default::default(),
        created_at: Timestamp(0),
        ended_at: Some(Timestamp(1)),
        waiting_for: vec![WaitReason::Time],
    };
    let open = OrchestrationSummary {
        state: OrchestrationState::Running,
        ended_at: None,
        ..ended.clone()
    };
    Some([ended, open])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Compiles and evaluates as a server does.
    fn evaluated(text: &str, run: &OrchestrationSummary) -> Result<bool, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let expressions = Expressions::default();
        let taken = runtime.block_on(async {
            let expression = expressions.compile(text).await?;
            let (kept, _) = expressions.keep(&expression, vec![(RunKey(1), run.clone())]).await?;
            Ok(kept.len() == 1)
        });
        taken.map_err(|error: ApiError| error.into_problem().detail)
    }

    fn run() -> OrchestrationSummary {
        let [mut ended, _] = samples().unwrap();
        ended.id = Name::parse("order-7").unwrap();
        ended.labels.insert("team".to_owned(), "blue".to_owned());
        ended.created_at = Timestamp(1_700_000_000_000);
        ended.ended_at = Some(Timestamp(1_700_000_400_000));
        ended
    }

    #[test]
    fn expressions_know_what_lists_show() {
        for (text, expected) in [
            ("id.startsWith('order-') && version == 1", true),
            ("state == 'completed' && labels.team == 'blue'", true),
            ("labels['team'] in ['red', 'green']", false),
            ("endedAt - createdAt > duration('5m')", true),
            (
                "createdAt >= timestamp('2023-11-14T00:00:00Z') && createdAt < now",
                true,
            ),
            ("labels.exists(key, key.matches('^te.m$'))", true),
            ("'time' in waitingFor", true),
            ("has(labels.owner)", false),
            ("matches(id, '^order-[0-9]+$') && !id.matches('^offer')", true),
            (
                r"labels.exists(key, key.matches('\\w+') && labels[key].matches('(?i)^BL\\w+\\s*$'))",
                true,
            ),
            ("[1, 2, 3].map(x, x * 2).filter(x, x > 2) == [4, 6]", true),
            ("labels.all(a, labels.all(b, a == b || labels[a] != labels[b]))", true),
        ] {
            assert_eq!(evaluated(text, &run()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_an_orchestration_does_not_have_makes_it_no_match() {
        let [_, open] = samples().unwrap();
        for text in [
            "labels.owner == 'ada'",
            "labels.owner != 'ada'",
            "endedAt > createdAt",
            "int(id) > 3",
            "1 / (version - 1) > 0",
        ] {
            assert_eq!(evaluated(text, &open), Ok(false), "{text}");
        }
        assert_eq!(evaluated("state == 'running' || endedAt > createdAt", &open), Ok(true));
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_with_its_place() {
        for (text, expected) in [
            ("state = 'completed'", "at line 1, column 7"),
            ("state ==\n  'completed' &&", "at line 2, column 17"),
            (
                "stat == 'completed'",
                "at line 1, column 1: there is no variable \"stat\"",
            ),
            (
                "true ||\n foo(bar)",
                "at line 2, column 6: there is no variable \"bar\"",
            ),
            ("version == '1' || version > 'x'", "no matching overload"),
            ("frobnicate(id)", "frobnicate"),
            ("id.matches('(')", "at line 1, column 12: regex parse error"),
            ("id.matches(type)", "at line 1, column 12: a pattern is a text"),
            ("createdAt > timestamp('yesterday')", "at line 1, column 22: "),
            ("now - createdAt > duration('1 day')", "at line 1, column 27: "),
            ("id == 'x' || 1 / 0 == 0", "at line 1, column 16: "),
            ("id", "gives a value of type string"),
            ("", "at line 1, column 1"),
        ] {
            let said = evaluated(text, &run()).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }

    #[test]
    fn what_would_cost_too_much_is_refused() {
        let deep = format!("{}true{}", "(".repeat(2_000), ")".repeat(2_000));
        let unary = format!("{}true", "!".repeat(4_000));
        let chain = format!("labels{} == 'x'", ".a".repeat(2_000));
        let sum = format!("1{} > 0", "+1".repeat(2_000));
        let index = format!("labels{} == 'x'", "['a']".repeat(700));
        let calls = format!("{}id{} == 'x'", "string(".repeat(450), ")".repeat(450));
        let ternary = format!("{}true", "true ? true : ".repeat(280));
        let list = format!("{}{} == []", "[".repeat(2_000), "]".repeat(2_000));
        let map = format!("{}1{} == {{}}", "{'a':".repeat(650), "}".repeat(650));
        let loops = "[1].exists(a, [1].exists(b, [1].exists(c, a == b && b == c)))".to_owned();
        let many = format!("[{}0]", "0,".repeat(900));
        let long_loops = format!("{many}.all(a, {many}.all(b, a == b))");
        let patterns = format!("{many}.all(a, id.matches('^x'))");
        let large_pattern = r"id.matches('\\d{1000}{1000}')".to_owned();
        let doubled_list = format!("[[0]]{} == []", ".map(x, x + x)".repeat(40));
        let doubled_text = format!("['0']{} == []", ".map(x, x + x)".repeat(40));
        let doubled_map = format!("[{many}]{} == []", ".map(x, {'a': x, 'b': x})".repeat(40));
        let long = format!("id == '{}'", "x".repeat(MOST_BYTES));
        for text in [
            deep,
            chain,
            sum,
            index,
            calls,
            ternary,
            list,
            map,
            loops,
            long_loops,
            patterns,
            large_pattern,
            doubled_list,
            doubled_text,
            doubled_map,
            long,
        ] {
            let said = evaluated(&text, &run()).unwrap_err();
            assert!(said.starts_with("the filter "), "{said}");
        }
        // However it ends, the server goes on.
        let _ = evaluated(&unary, &run());
        assert_eq!(evaluated("[1, 2].exists(a, [2].exists(b, a == b))", &run()), Ok(true));
    }

    #[test]
    fn garbage_is_refused_at_once() {
        let begin = Instant::now();
        for text in [
            "[[[[[[[[[[[[[[[[[[[[{{{{{{{{((((((((".repeat(20),
            "\"".repeat(999),
            "?:".repeat(900),
            "\u{0}é".repeat(500),
        ] {
            assert!(evaluated(&text, &run()).is_err());
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    }
}
