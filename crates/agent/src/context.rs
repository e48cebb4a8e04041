//! What a processor sees of the attempt that it executes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::oneshot;
use unisono_model::ids::AttemptToken;
use unisono_model::name::Name;
use unisono_model::protocol::{ActivityTask, ContextPatch};
use unisono_model::trace::TraceContext;

use crate::attempt::{AttemptEvent, AttemptHandle, SaveError};
use crate::processor::ActivityFailure;
use crate::values::Values;

/// How long [`ActivityContext::save_context`] waits for the server, which may be away for a while.
const SAVE_TIMEOUT: Duration = Duration::from_secs(60);

/// One attempt of one activity, as its processor sees it.
#[derive(Debug)]
pub struct ActivityContext {
    task: ActivityTask,
    attempt: AttemptHandle,
    context: Option<BTreeMap<String, Box<RawValue>>>,
    changes: BTreeMap<String, Option<Box<RawValue>>>,
    output: Output,
    trace: Option<TraceContext>,
}

#[derive(Debug)]
enum Output {
    Fields(BTreeMap<String, Box<RawValue>>),
    Whole(Box<RawValue>),
}

/// A value of the attempt that could not be read or written as JSON of the wanted type. Fatal when it leaves a
/// processor by `?`, with the code `invalid-value`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct ValueError {
    /// Which value, such as `input.tenant.name` or `context.counter`.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

impl From<ValueError> for ActivityFailure {
    fn from(error: ValueError) -> Self {
        Self::fatal("invalid-value", error)
    }
}

/// Changes that could not be saved are worth another attempt.
impl From<SaveError> for ActivityFailure {
    fn from(error: SaveError) -> Self {
        Self::retry("context-not-saved", error)
    }
}

impl ActivityContext {
    pub(crate) fn new(task: ActivityTask, attempt: AttemptHandle) -> Self {
        Self {
            trace: TraceContext::read(task.traceparent.as_deref(), task.tracestate.as_deref()),
            task,
            attempt,
            context: None,
            changes: BTreeMap::new(),
            output: Output::Fields(BTreeMap::new()),
        }
    }

    /// The namespace of the orchestration.
    #[must_use]
    pub fn namespace(&self) -> &Name {
        &self.task.namespace
    }

    /// The orchestration that the activity is part of.
    #[must_use]
    pub fn orchestration_id(&self) -> &Name {
        &self.task.orchestration_id
    }

    /// The type of that orchestration.
    #[must_use]
    pub fn orchestration_type(&self) -> &Name {
        &self.task.orchestration_type
    }

    /// The correlation id that the orchestration was started with.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.task.correlation_id.as_deref()
    }

    /// The activity within the orchestration.
    #[must_use]
    pub fn activity_id(&self) -> &Name {
        &self.task.activity_id
    }

    /// The activity's type.
    #[must_use]
    pub fn activity_type(&self) -> &Name {
        &self.task.activity_type
    }

    /// The subtype, such as [`DEPLOY`](crate::DEPLOY) or [`DISPOSE`](crate::DISPOSE).
    #[must_use]
    pub fn discriminator(&self) -> Option<&str> {
        self.task.discriminator.as_deref()
    }

    /// 1 for the first execution of this activity, then counting.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.task.attempt
    }

    /// What entitles to complete or fail the activity from outside after [`Wait`](crate::ActivityResult::Wait).
    #[must_use]
    pub fn token(&self) -> AttemptToken {
        self.task.token
    }

    /// The trace that the attempt belongs to, with the span that is the parent of whatever the processor does: to be
    /// passed on with what it calls ([`TraceContext::parent`] is the header `traceparent`). `None` when the orchestration
    /// is not traced.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    pub(crate) fn set_trace(&mut self, trace: TraceContext) {
        self.trace = Some(trace);
    }

    /// The activity's input as a type of yours.
    ///
    /// # Errors
    /// The input does not fit the type; the error names the path to the first misfit.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, ValueError> {
        read("input", &self.task.input)
    }

    /// The activity's input as JSON text, an object.
    #[must_use]
    pub fn raw_input(&self) -> &RawValue {
        &self.task.input
    }

    /// A key of the orchestration's shared context, as it was when the attempt was dispatched, with this attempt's own
    /// changes; `None` when there is no such key.
    ///
    /// # Errors
    /// The value does not fit the type.
    pub fn get<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, ValueError> {
        let place = format!("context.{key}");
        if let Some(change) = self.changes.get(key) {
            return change.as_deref().map(|value| read(&place, value)).transpose();
        }
        let context = match self.context.take() {
            Some(context) => context,
            None => read("context", &self.task.context)?,
        };
        let context = self.context.insert(context);
        context.get(key).map(|value| read(&place, value)).transpose()
    }

    /// The orchestration's shared context as JSON text, an object, without this attempt's own changes.
    #[must_use]
    pub fn raw_context(&self) -> &RawValue {
        &self.task.context
    }

    /// Sets a key of the shared context. It becomes durable together with the result, or with
    /// [`save_context`](Self::save_context).
    ///
    /// # Errors
    /// The value has no form in JSON.
    pub fn set(&mut self, key: impl Into<String>, value: impl Serialize) -> Result<(), ValueError> {
        let key = key.into();
        let value = write(|| format!("context.{key}"), &value)?;
        self.changes.insert(key, Some(value));
        Ok(())
    }

    /// Deletes a key of the shared context; deleting an absent key is no error.
    pub fn delete(&mut self, key: impl Into<String>) {
        self.changes.insert(key.into(), None);
    }

    /// Applies a whole patch, as the `exec` processor does for its scripts.
    pub fn apply_patch(&mut self, patch: ContextPatch) {
        self.changes
            .extend(patch.set.into_iter().map(|(key, value)| (key, Some(value))));
        self.changes.extend(patch.delete.into_iter().map(|key| (key, None)));
    }

    /// Makes the context changes so far durable while the attempt goes on, so that the next attempt sees them should
    /// this one be lost. Waits for the server's word, through reconnects, up to a minute.
    ///
    /// # Errors
    /// [`SaveError`]; the changes then travel again with the next save or with the result.
    pub async fn save_context(&mut self) -> Result<(), SaveError> {
        let patch = self.patch();
        if patch.is_empty() {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        self.attempt.tell(AttemptEvent::Save(self.task.token, patch, answer));
        let saved = tokio::select! {
            saved = tokio::time::timeout(SAVE_TIMEOUT, answered) => saved,
            () = self.attempt.cancelled() => return Err(SaveError::Cancelled),
        };
        match saved {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) => return Err(SaveError::Cancelled),
            Err(_) => {
                return Err(SaveError::NoAnswer {
                    seconds: SAVE_TIMEOUT.as_secs(),
                });
            }
        }
        self.remember_saved();
        Ok(())
    }

    /// What is durable is part of the context that was read, and no change any more.
    fn remember_saved(&mut self) {
        let mut context = self
            .context
            .take()
            .or_else(|| read("context", &self.task.context).ok())
            .unwrap_or_default();
        for (key, change) in std::mem::take(&mut self.changes) {
            match change {
                Some(value) => context.insert(key, value),
                None => context.remove(&key),
            };
        }
        self.context = Some(context);
    }

    /// Sets one property of the activity's output.
    ///
    /// # Errors
    /// The value has no form in JSON.
    pub fn set_output(&mut self, key: impl Into<String>, value: impl Serialize) -> Result<(), ValueError> {
        let key = key.into();
        let value = write(|| format!("output.{key}"), &value)?;
        match &mut self.output {
            Output::Fields(fields) => {
                fields.insert(key, value);
            }
            Output::Whole(_) => self.output = Output::Fields(BTreeMap::from([(key, value)])),
        }
        Ok(())
    }

    /// Sets the activity's whole output, which must be an object in JSON. Replaces what was set before.
    ///
    /// # Errors
    /// The value has no form in JSON, or is no object.
    pub fn set_whole_output(&mut self, value: impl Serialize) -> Result<(), ValueError> {
        let value = write(|| "output".to_owned(), &value)?;
        if !value.get().starts_with('{') {
            let reason = "the output of an activity must be a JSON object".to_owned();
            return Err(ValueError {
                place: "output".to_owned(),
                reason,
            });
        }
        self.output = Output::Whole(value);
        Ok(())
    }

    /// Says that the attempt is alive, with a note for people about what it is doing.
    pub fn heartbeat(&self, note: impl Into<String>) {
        self.attempt.heartbeat(note);
    }

    /// Writes to the attempt's log, which `unisono logs` shows.
    pub fn log(&self, text: impl AsRef<str>) {
        self.attempt.log(text);
    }

    /// Resolves when the attempt is cancelled: its result no longer counts, and it should clean up and return.
    pub async fn cancelled(&self) {
        self.attempt.cancelled().await;
    }

    /// Whether the attempt is cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.attempt.is_cancelled()
    }

    /// The values and futures of the namespace, over the agent's connection. Other tasks can have it.
    #[must_use]
    pub fn values(&self) -> Values {
        Values::new(self.attempt.clone())
    }

    /// The part of the attempt that other tasks can have: signs of life, log, cancellation.
    #[must_use]
    pub fn handle(&self) -> AttemptHandle {
        self.attempt.clone()
    }

    /// The changes so far.
    fn patch(&self) -> ContextPatch {
        let mut patch = ContextPatch::default();
        for (key, change) in &self.changes {
            match change {
                Some(value) => {
                    patch.set.insert(key.clone(), value.clone());
                }
                None => patch.delete.push(key.clone()),
            }
        }
        patch
    }

    /// What travels with the result: the output, and the changes that are not saved yet.
    pub(crate) fn into_parts(self) -> (Option<Box<RawValue>>, Option<ContextPatch>) {
        let patch = Some(self.patch()).filter(|patch| !patch.is_empty());
        let output = match self.output {
            Output::Fields(fields) if fields.is_empty() => None,
            Output::Fields(fields) => to_raw_value(&fields).ok(),
            Output::Whole(value) => Some(value),
        };
        (output, patch)
    }
}

fn read<T: DeserializeOwned>(place: &str, value: &RawValue) -> Result<T, ValueError> {
    let mut json = serde_json::Deserializer::from_str(value.get());
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let place = match path.as_str() {
            "." => place.to_owned(),
            path => format!("{place}.{path}"),
        };
        ValueError {
            place,
            reason: without_position(&error.into_inner().to_string()),
        }
    })
}

/// Without serde_json's "at line 1 column 17", which means nothing in a value that was never a file.
fn without_position(message: &str) -> String {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(text, _)| text)
        .to_owned()
}

fn write(place: impl FnOnce() -> String, value: &impl Serialize) -> Result<Box<RawValue>, ValueError> {
    to_raw_value(value).map_err(|error| ValueError {
        place: place(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use tokio::sync::mpsc;

    pub(crate) fn task(input: serde_json::Value, context: serde_json::Value) -> ActivityTask {
        serde_json::from_value::<TaskJson>(json!({ "input": input, "context": context }))
            .unwrap()
            .task()
    }

    #[derive(Deserialize)]
    struct TaskJson {
        input: serde_json::Value,
        context: serde_json::Value,
    }

    impl TaskJson {
        fn task(self) -> ActivityTask {
            ActivityTask {
                token: "1f3a-0123456789abcdef".parse().unwrap(),
                namespace: Name::parse("default").unwrap(),
                orchestration_id: Name::parse("run-1").unwrap(),
                orchestration_type: Name::parse("tenant").unwrap(),
                correlation_id: Some("order 7".to_owned()),
                activity_id: Name::parse("did").unwrap(),
                activity_type: Name::parse("did.example.com").unwrap(),
                discriminator: Some("deploy".to_owned()),
                attempt: 1,
                traceparent: None,
                tracestate: None,
                input: to_raw_value(&self.input).unwrap(),
                context: to_raw_value(&self.context).unwrap(),
            }
        }
    }

    pub(crate) fn context(
        input: serde_json::Value,
        shared: serde_json::Value,
    ) -> (ActivityContext, mpsc::UnboundedReceiver<AttemptEvent>) {
        let task = task(input, shared);
        let (events, received) = mpsc::unbounded_channel();
        let handle = AttemptHandle::new(task.token, events);
        (ActivityContext::new(task, handle), received)
    }

    #[derive(Debug, Deserialize)]
    struct Tenant {
        #[expect(dead_code, reason = "read by serde only")]
        name: String,
    }

    #[derive(Debug, Deserialize)]
    struct Input {
        #[expect(dead_code, reason = "read by serde only")]
        tenants: Vec<Tenant>,
    }

    #[test]
    fn an_input_that_does_not_fit_names_the_path() {
        let (context, _events) = context(json!({"tenants": [{"name": "a"}, {"name": 5}]}), json!({}));
        let error = context.input::<Input>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "input.tenants[1].name: invalid type: integer `5`, expected a string"
        );
    }

    #[test]
    fn only_changed_keys_travel() {
        let (mut context, _events) = context(json!({}), json!({"a": 1, "b": 2, "c": 3}));
        assert_eq!(context.get::<i32>("a").unwrap(), Some(1));
        context.set("b", 20).unwrap();
        context.delete("c");
        assert_eq!(context.get::<i32>("b").unwrap(), Some(20));
        assert_eq!(context.get::<i32>("c").unwrap(), None);
        let patch = serde_json::to_string(&context.into_parts().1.unwrap()).unwrap();
        assert_eq!(patch, r#"{"set":{"b":20},"delete":["c"]}"#);
    }

    #[tokio::test]
    async fn what_was_saved_does_not_travel_again_and_what_was_refused_does() {
        let (mut context, mut events) = context(json!({}), json!({"a": 1}));
        context.set("a", 2).unwrap();
        let server = tokio::spawn(async move {
            for answer in [
                Err(SaveError::Refused {
                    code: "too-large".into(),
                    message: "no".into(),
                }),
                Ok(()),
            ] {
                let Some(AttemptEvent::Save(_, patch, reply)) = events.recv().await else {
                    panic!("a save expected")
                };
                assert_eq!(patch.set["a"].get(), "2");
                reply.send(answer).unwrap();
            }
        });
        assert!(
            context
                .save_context()
                .await
                .unwrap_err()
                .to_string()
                .contains("too-large")
        );
        context.save_context().await.unwrap();
        server.await.unwrap();
        assert_eq!(context.get::<i32>("a").unwrap(), Some(2));
        assert!(context.into_parts().1.is_none());
    }

    #[test]
    fn an_output_is_an_object() {
        let (mut context, _events) = context(json!({}), json!({}));
        assert!(
            context
                .set_whole_output([1])
                .unwrap_err()
                .to_string()
                .contains("must be a JSON object")
        );
        context.set_whole_output(json!({"x": 1})).unwrap();
        assert_eq!(context.into_parts().0.unwrap().get(), r#"{"x":1}"#);
    }
}
