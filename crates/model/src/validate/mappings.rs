//! The rules of mappings: every source is produced, upstream, and of a schema that its target can take.

use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use super::{
    fit::{Declared, declared, is_closed, mismatch, property, required},
    known,
    orchestration::Judge,
    types::TypeSchemas,
};
use crate::{
    Mapping, Name, Path, PlannedInput, PlannedSource,
    document::{DraftActivity, DraftMapping, Finding},
    graph::{Graph, Layers},
    nearest::listed,
    problem::Span,
    schema::defects,
};

/// A reference to an output whose activity is no direct dependency.
struct Distant {
    vertex: u32,
    producer: u32,
    at: (Span, String),
}

/// Reasons by producer (`None` is the run's input), place, taking type and target: activities of one type repeat them.
type Known = FxHashMap<(Option<Name>, String, Name, Box<str>), Option<Rc<str>>>;

impl<'j> Judge<'j, '_> {
    /// Judges the inputs of all activities, and the output.
    pub(super) fn mappings(&mut self, graph: &Graph, layers: &Layers) {
        let draft = self.draft;
        let schema = draft.schema.as_ref().map_or(&Value::Bool(true), |schema| &schema.value);
        let schema = if defects(schema).is_empty() {
            schema
        } else {
            &Value::Bool(true)
        };
        let mut checks = Checks {
            schema,
            distant: Vec::new(),
            known: Known::default(),
        };
        let mut direct = vec![u32::MAX; draft.activities.len()];
        for (vertex, activity) in (0..).zip(&draft.activities) {
            graph.dependencies[vertex as usize]
                .iter()
                .for_each(|&producer| direct[producer as usize] = vertex);
            self.inputs(vertex, activity, &direct, &mut checks);
        }
        self.not_upstream(graph, layers, checks.distant);
        if let Some(output) = &draft.output {
            let mut targets = FxHashSet::default();
            for mapping in output {
                let Some(planned) = self.resolve(mapping, "output", &mut targets) else {
                    continue;
                };
                self.produced(&planned.source, mapping, "output", schema);
            }
        }
    }

    fn inputs(&mut self, vertex: u32, activity: &'j DraftActivity, direct: &[u32], checks: &mut Checks<'_>) {
        let list = format!("activities[{}].inputs", activity.place);
        let taking = activity
            .r#type
            .as_ref()
            .and_then(|t| Some((&t.value, self.types.get(&t.value)?)));
        let mut targets = FxHashSet::default();
        let mut readable = true;
        for mapping in &activity.inputs {
            let Some(planned) = self.resolve(mapping, &list, &mut targets) else {
                readable = false;
                continue;
            };
            if let PlannedSource::Output { activity: producer, .. } = planned.source
                && direct[producer as usize] != vertex
            {
                let at = (mapping.source.span, source_path(mapping, &list));
                checks.distant.push(Distant { vertex, producer, at });
            }
            let given = self.produced(&planned.source, mapping, &list, checks.schema);
            if let Some((name, schemas)) = &taking {
                self.fits(&planned, given.as_ref(), mapping, &list, (name, schemas), checks);
            }
        }
        if let Some((name, schemas)) = taking.filter(|_| readable) {
            self.required_inputs(activity, name, &schemas, &targets);
        }
    }

    /// Reads a mapping, and refuses a target that is taken.
    fn resolve(
        &mut self,
        mapping: &DraftMapping,
        list: &str,
        targets: &mut FxHashSet<Box<str>>,
    ) -> Option<PlannedInput> {
        let plain = Mapping {
            source: mapping.source.value.clone(),
            target: mapping.target.as_ref().map(|target| target.value.clone()),
        };
        let planned = match PlannedInput::parse(&plain, |id| self.index.get(id).copied()) {
            Ok(planned) => planned,
            Err(error) => {
                let at = (mapping.source.span, source_path(mapping, list));
                let help = "write a path into the input, such as `tenant.name`, or `activityId.path`";
                self.findings
                    .push(Finding::new("bad-source", at, error.to_string(), help));
                return None;
            }
        };
        if !targets.insert(planned.target.clone()) {
            let (span, path) = target_place(mapping, list);
            let message = format!("the target `{}` already gets a value here", planned.target);
            let help = "give one of the two another `target`";
            self.findings
                .push(Finding::new("duplicate-target", (span, path), message, help));
        }
        Some(planned)
    }

    /// The schema of what a source gives, if it is known; a finding when nobody produces it.
    fn produced(&mut self, source: &PlannedSource, mapping: &DraftMapping, list: &str, input: &Value) -> Option<Given> {
        let at = (mapping.source.span, source_path(mapping, list));
        let text = &mapping.source.value;
        match source {
            PlannedSource::Input(path) => match declared(input, path) {
                Declared::As(_) => Some(Given::Input),
                Declared::Open => None,
                Declared::Never(properties) => {
                    let message = format!("nobody produces `{text}`: the orchestration's input has no such property");
                    let help = self.help_for_input(text, path.last(), &properties);
                    self.findings.push(Finding::new("unknown-source", at, message, help));
                    None
                }
            },
            PlannedSource::Output { activity, path } => {
                let producer = &self.draft.activities[*activity as usize];
                let (id, r#type) = (producer.id.as_ref()?, producer.r#type.as_ref()?);
                let schemas = self.types.get(&r#type.value)?;
                match declared(&schemas.output, path) {
                    Declared::As(_) => Some(Given::Output(r#type.value.clone(), Rc::clone(&schemas))),
                    Declared::Open => None,
                    Declared::Never(properties) => {
                        let (id, r#type) = (&id.value, &r#type.value);
                        let message =
                            format!("nobody produces `{text}`: the output of `{id}` (type `{type}`) has no `{path}`");
                        let help = known(
                            self.nearest,
                            path.last(),
                            properties.iter().copied(),
                            "its outputSchema has no properties",
                        );
                        let mut finding = Finding::new("unknown-source", at, message, help);
                        finding.types.push(r#type.clone());
                        self.findings.push(finding);
                        None
                    }
                }
            }
        }
    }

    /// What was probably meant by a source that is no activity's output and no property of the input.
    fn help_for_input(&self, source: &str, last: &str, properties: &[&str]) -> String {
        let ids = || {
            self.draft
                .activities
                .iter()
                .filter_map(|activity| Some(activity.id.as_ref()?.value.as_str()))
        };
        if let Some((id, path)) = source.split_once('.')
            && let Some(near) = self.nearest.of(id, ids())
        {
            return format!("did you mean `{near}.{path}`?");
        }
        if self.index.contains_key(source) {
            return format!("for the output of the activity `{source}`, write `{source}.` and a property of it");
        }
        if let Some(near) = self.nearest.of(last, properties.iter().copied()) {
            return format!("did you mean `{near}`?");
        }
        let declared = listed(properties.iter().copied());
        let declared = if declared.is_empty() {
            String::new()
        } else {
            format!(" (it has {declared})")
        };
        format!("declare it in `schema`{declared}, or write `activityId.path` for the output of an activity")
    }

    /// The target exists, and can take what the source gives.
    fn fits(
        &mut self,
        planned: &PlannedInput,
        given: Option<&Given>,
        mapping: &DraftMapping,
        list: &str,
        (name, schemas): (&Name, &TypeSchemas),
        checks: &mut Checks<'_>,
    ) {
        let taken = match property(&schemas.input, &planned.target) {
            Declared::As(taken) => taken,
            Declared::Never(properties) if is_closed(&schemas.input) => {
                let message = format!("the activity type `{name}` takes no input `{}`", planned.target);
                let none = "its inputSchema has no properties";
                let help = known(self.nearest, &planned.target, properties.iter().copied(), none);
                let mut finding = Finding::new("unknown-target", target_place(mapping, list), message, help);
                finding.types.push(name.clone());
                self.findings.push(finding);
                return;
            }
            _ => return,
        };
        let Some(given) = given else { return };
        let path = planned.source.path();
        let key = (
            given.r#type().cloned(),
            path.to_string(),
            name.clone(),
            planned.target.clone(),
        );
        let schema = checks.schema;
        let reason = checks
            .known
            .entry(key)
            .or_insert_with(|| given.mismatch(path, schema, taken));
        if let Some(reason) = reason {
            let message = format!(
                "`{}` can never fit the input `{}` of `{name}`: it {reason}",
                mapping.source.value, planned.target
            );
            let help = "map another source, or correct one of the two schemas";
            let at = (mapping.source.span, source_path(mapping, list));
            let mut finding = Finding::new("schema-mismatch", at, message, help);
            finding.types.extend(given.r#type().into_iter().chain([name]).cloned());
            self.findings.push(finding);
        }
    }

    fn required_inputs(
        &mut self,
        activity: &DraftActivity,
        name: &Name,
        schemas: &TypeSchemas,
        targets: &FxHashSet<Box<str>>,
    ) {
        for missing in required(&schemas.input).filter(|required| !targets.contains(*required)) {
            let span = activity.id.as_ref().map_or(activity.span, |id| id.span);
            let message = format!("the activity type `{name}` requires the input `{missing}`, which nothing provides");
            let help = format!("add a mapping with the target `{missing}` to `inputs`");
            let at = (span, format!("activities[{}].inputs", activity.place));
            let mut finding = Finding::new("missing-input", at, message, help);
            finding.types.push(name.clone());
            self.findings.push(finding);
        }
    }

    fn not_upstream(&mut self, graph: &Graph, layers: &Layers, distant: Vec<Distant>) {
        let pairs: Vec<(u32, u32)> = distant
            .iter()
            .map(|distant| (distant.vertex, distant.producer))
            .collect();
        let wrong: FxHashSet<(u32, u32)> = graph.not_upstream(layers, &pairs).into_iter().collect();
        let id = |vertex: u32| Some(&self.draft.activities[vertex as usize].id.as_ref()?.value);
        for Distant { vertex, producer, at } in distant {
            let (Some(reader), Some(read)) = (id(vertex), id(producer)) else {
                continue;
            };
            if !wrong.contains(&(vertex, producer)) {
                continue;
            }
            let (message, help) = if vertex == producer {
                (
                    format!("`{reader}` reads its own output"),
                    "an activity can only read what is done before it".to_owned(),
                )
            } else {
                let message = format!("`{reader}` reads the output of `{read}`, but does not wait for it");
                (message, format!("add `{read}` to `dependsOn` of `{reader}`"))
            };
            self.findings.push(Finding::new("not-upstream", at, message, help));
        }
    }
}

struct Checks<'s> {
    /// The schema of the orchestration's input.
    schema: &'s Value,
    distant: Vec<Distant>,
    known: Known,
}

/// What a source gives.
enum Given {
    /// A property that the schema of the input declares.
    Input,
    /// A property that the output schema of this type declares.
    Output(Name, Rc<TypeSchemas>),
}

impl Given {
    fn r#type(&self) -> Option<&Name> {
        match self {
            Self::Input => None,
            Self::Output(r#type, _) => Some(r#type),
        }
    }

    /// Why the target's schema cannot take it.
    fn mismatch(&self, path: &Path, input: &Value, taken: &Value) -> Option<Rc<str>> {
        let schema = match self {
            Self::Input => input,
            Self::Output(_, schemas) => &schemas.output,
        };
        match declared(schema, path) {
            Declared::As(given) => mismatch(given, taken).map(Rc::from),
            Declared::Open | Declared::Never(_) => None,
        }
    }
}

fn source_path(mapping: &DraftMapping, list: &str) -> String {
    let place = mapping.place;
    if mapping.long {
        format!("{list}[{place}].source")
    } else {
        format!("{list}[{place}]")
    }
}

fn target_place(mapping: &DraftMapping, list: &str) -> (Span, String) {
    match &mapping.target {
        Some(target) => (target.span, format!("{list}[{}].target", mapping.place)),
        None => (mapping.source.span, source_path(mapping, list)),
    }
}
