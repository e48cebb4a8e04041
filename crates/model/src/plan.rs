//! The plan of an orchestration definition: everything its runs share, computed once per version.
//!
//! Activities are numbered by their place in the definition. `order` and `tiers` are for people and for walking the
//! graph; an activity is dispatched as soon as its own `dependencies` are done, whatever its tier.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    ActivityDefinition, Mapping, Name, OrchestrationDefinition,
    graph::Graph,
    limits::MAX_MAPPED_BYTES,
    path::{Path, PathError, extract_all},
    schema::{LazySchema, Violation},
};

/// What all runs of one version of an orchestration definition share.
#[derive(Debug)]
pub struct Plan {
    /// The definition's type.
    pub orchestration_type: Name,
    /// The definition's version; 0 before one is assigned.
    pub version: u32,
    /// In the order of the definition: the index is the activity's number.
    pub activities: Box<[PlannedActivity]>,
    /// A topological order: tier by tier.
    pub order: Box<[u32]>,
    /// Activities that could run side by side if all took the same time.
    pub tiers: Box<[Box<[u32]>]>,
    /// What the result is made of; `None` when it is all outputs by activity id.
    pub output: Option<Box<[PlannedInput]>>,
    index: FxHashMap<Name, u32>,
    input_schema: Option<LazySchema>,
}

/// The values that mappings collect are together too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the mapped values are together {bytes} bytes long; the limit is {MAX_MAPPED_BYTES}; keep large data elsewhere and map a reference to it"
)]
pub struct MappedTooLarge {
    /// Bytes of the values.
    pub bytes: usize,
}

/// One activity of a [`Plan`].
#[derive(Debug)]
pub struct PlannedActivity {
    /// The activity's id.
    pub id: Name,
    /// The activity definition's type, by which agents are chosen.
    pub activity_type: Name,
    /// Tells kinds of one activity type apart.
    pub discriminator: Option<Box<str>>,
    /// Activities that must be done before this one.
    pub dependencies: Box<[u32]>,
    /// Activities that wait for this one.
    pub dependents: Box<[u32]>,
    /// The length of the longest chain of dependencies, from 0.
    pub tier: u32,
    /// Where the input comes from, in the order of the definition.
    pub inputs: Box<[PlannedInput]>,
    schemas: Option<Arc<ActivitySchemas>>,
}

/// One mapping, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedInput {
    /// Where the value comes from.
    pub source: PlannedSource,
    /// The property that it goes to.
    pub target: Box<str>,
}

/// Where a mapped value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedSource {
    /// The input of the run.
    Input(Path),
    /// The output of an activity.
    Output {
        /// The activity's number.
        activity: u32,
        /// The place in its output.
        path: Path,
    },
}

/// The schemas of one activity type, shared by all activities of that type.
#[derive(Debug)]
struct ActivitySchemas {
    input: Option<LazySchema>,
    output: Option<LazySchema>,
}

/// Why a definition has no plan. A definition that passed [`crate::validate::validate`] has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to do.
    #[error("the definition has no activities")]
    Empty,
    /// More activities than can be numbered.
    #[error("the definition has {0} activities, more than a plan can number")]
    TooManyActivities(usize),
    /// Two activities have one id.
    #[error("the activity id {0} is used twice")]
    DuplicateActivity(Name),
    /// An activity depends on one that does not exist.
    #[error("activity {activity} depends on {dependency}, which does not exist")]
    UnknownDependency {
        /// The dependent activity.
        activity: Name,
        /// The missing one.
        dependency: Name,
    },
    /// An activity names a dependency twice.
    #[error("activity {activity} depends on {dependency} twice")]
    DuplicateDependency {
        /// The dependent activity.
        activity: Name,
        /// The dependency.
        dependency: Name,
    },
    /// Activities wait for each other; each for the next, the last for the first.
    #[error("activities wait for each other: {}", cycle_text(.0))]
    Cycle(Vec<Name>),
    /// A mapping's source is no path.
    #[error("the source {source_text:?} is no path")]
    Source {
        /// The source as written.
        source_text: String,
        /// What is wrong with it.
        #[source]
        cause: PathError,
    },
}

/// `a → b → a`: a cycle, closed.
pub(crate) fn cycle_text(cycle: &[Name]) -> String {
    let closed: Vec<&str> = cycle.iter().chain(cycle.first()).map(Name::as_str).collect();
    closed.join(" → ")
}

impl PlannedSource {
    /// Reads a mapping's source: `activityId.path` when it starts with the id of a known activity (the longest, since
    /// ids may have dots in them), otherwise a path into the input. A leading `/` always means the input.
    ///
    /// # Errors
    /// [`PathError`] when the path, or what follows the activity's id, is none.
    pub fn parse(source: &str, activity: impl Fn(&str) -> Option<u32>) -> Result<Self, PathError> {
        let by_output = source
            .rmatch_indices('.')
            .find_map(|(dot, _)| Some((activity(&source[..dot])?, dot)));
        match by_output {
            Some((activity, dot)) => Ok(Self::Output {
                activity,
                path: Path::parse(&source[dot + 1..])?,
            }),
            None => Ok(Self::Input(Path::parse(source)?)),
        }
    }

    /// The place in the input or the output.
    pub fn path(&self) -> &Path {
        match self {
            Self::Input(path) | Self::Output { path, .. } => path,
        }
    }

    /// The activity whose output is the source; `None` for the run's input.
    pub fn activity(&self) -> Option<u32> {
        match self {
            Self::Input(_) => None,
            Self::Output { activity, .. } => Some(*activity),
        }
    }
}

impl PlannedInput {
    /// Resolves one mapping; see [`PlannedSource::parse`].
    ///
    /// # Errors
    /// [`PathError`] when the source is no path.
    pub fn parse(mapping: &Mapping, activity: impl Fn(&str) -> Option<u32>) -> Result<Self, PathError> {
        let source = PlannedSource::parse(&mapping.source, activity)?;
        let target = mapping.target.as_deref().unwrap_or_else(|| source.path().last()).into();
        Ok(Self { source, target })
    }
}

impl Plan {
    /// Computes the plan, in time linear in the size of the definition.
    ///
    /// An activity type without a definition in `activity_definitions` counts as one without schemas: whether the types
    /// exist is asked when a definition is applied, not when a run of it is replayed.
    ///
    /// # Errors
    /// [`PlanError`], the first one found. For all mistakes at once, with their places, see [`validate`](crate::validate::validate).
    pub fn compile(
        definition: &OrchestrationDefinition,
        activity_definitions: &BTreeMap<Name, Arc<ActivityDefinition>>,
    ) -> Result<Self, PlanError> {
        let index = number(definition)?;
        let graph = Graph::new(dependencies(definition, &index)?);
        let layers = graph.layers();
        if layers.layer_of.contains(&None) {
            let cycle = graph.cycles().into_iter().next().unwrap_or_default();
            let name = |i: u32| definition.activities[i as usize].id.clone();
            return Err(PlanError::Cycle(cycle.into_iter().map(name).collect()));
        }
        let mut schemas = Schemas {
            definitions: activity_definitions,
            known: FxHashMap::default(),
        };
        let parts = graph
            .dependencies
            .into_iter()
            .zip(graph.dependents)
            .zip(layers.layer_of);
        let activities =
            definition
                .activities
                .iter()
                .zip(parts)
                .map(|(activity, ((dependencies, dependents), tier))| {
                    Ok(PlannedActivity {
                        id: activity.id.clone(),
                        activity_type: activity.r#type.clone(),
                        discriminator: activity.discriminator.as_deref().map(Into::into),
                        dependencies: dependencies.into(),
                        dependents: dependents.into(),
                        tier: tier.unwrap_or_default(),
                        inputs: resolve(&activity.inputs, &index)?,
                        schemas: schemas.of(&activity.r#type),
                    })
                });
        Ok(Self {
            orchestration_type: definition.r#type.clone(),
            version: definition.version.unwrap_or_default(),
            activities: activities.collect::<Result<_, _>>()?,
            order: layers.layers.concat().into(),
            tiers: layers.layers.into_iter().map(Into::into).collect(),
            output: definition
                .output
                .as_deref()
                .map(|output| resolve(output, &index))
                .transpose()?,
            index,
            input_schema: LazySchema::json(&definition.schema),
        })
    }

    /// The number of the activity with this id.
    pub fn index_of(&self, id: &str) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// The activity with this number.
    pub fn activity(&self, activity: u32) -> Option<&PlannedActivity> {
        self.activities.get(activity as usize)
    }

    /// Checks the input of a run against the definition's schema.
    ///
    /// # Errors
    /// Every violation, up to 100.
    pub fn validate_input(&self, input: &RawValue) -> Result<(), Vec<Violation>> {
        self.input_schema
            .as_ref()
            .map_or(Ok(()), |schema| schema.validate(input))
    }

    /// Checks the input of an activity against its type's input schema.
    ///
    /// # Errors
    /// Every violation, up to 100.
    pub fn validate_activity_input(&self, activity: u32, input: &RawValue) -> Result<(), Vec<Violation>> {
        self.schemas(activity)
            .and_then(|schemas| schemas.input.as_ref())
            .map_or(Ok(()), |schema| schema.validate(input))
    }

    /// Checks the output of an activity against its type's output schema.
    ///
    /// # Errors
    /// Every violation, up to 100.
    pub fn validate_activity_output(&self, activity: u32, output: &RawValue) -> Result<(), Vec<Violation>> {
        self.schemas(activity)
            .and_then(|schemas| schemas.output.as_ref())
            .map_or(Ok(()), |schema| schema.validate(output))
    }

    fn schemas(&self, activity: u32) -> Option<&ActivitySchemas> {
        self.activity(activity)?.schemas.as_deref()
    }

    /// The input of an activity: an object of the mapped values, as they are written in their sources. A source that is
    /// absent leaves its target out.
    ///
    /// # Errors
    /// [`MappedTooLarge`] when the values are together too large: one source can be mapped many times.
    pub fn activity_input<'a>(
        &self,
        activity: u32,
        run_input: &'a RawValue,
        output_of: impl FnMut(u32) -> Option<&'a RawValue>,
    ) -> Result<Box<RawValue>, MappedTooLarge> {
        let inputs = self.activity(activity).map_or(&[][..], |activity| &activity.inputs);
        collect(inputs, run_input, output_of)
    }

    /// The result of a run by the definition's `output` mapping; `None` when the definition has none.
    ///
    /// # Errors
    /// [`MappedTooLarge`] when the values are together too large: one source can be mapped many times.
    pub fn run_output<'a>(
        &self,
        run_input: &'a RawValue,
        output_of: impl FnMut(u32) -> Option<&'a RawValue>,
    ) -> Result<Option<Box<RawValue>>, MappedTooLarge> {
        self.output
            .as_deref()
            .map(|mappings| collect(mappings, run_input, output_of))
            .transpose()
    }
}

fn number(definition: &OrchestrationDefinition) -> Result<FxHashMap<Name, u32>, PlanError> {
    let count = definition.activities.len();
    if count == 0 {
        return Err(PlanError::Empty);
    }
    let numbers = 0..u32::try_from(count).map_err(|_| PlanError::TooManyActivities(count))?;
    let mut index = FxHashMap::with_capacity_and_hasher(count, Default::default());
    for (number, activity) in numbers.zip(&definition.activities) {
        if index.insert(activity.id.clone(), number).is_some() {
            return Err(PlanError::DuplicateActivity(activity.id.clone()));
        }
    }
    Ok(index)
}

fn dependencies(
    definition: &OrchestrationDefinition,
    index: &FxHashMap<Name, u32>,
) -> Result<Vec<Vec<u32>>, PlanError> {
    // `seen[d] == a` when activity `a` has already named `d`: one array for all activities, never cleared.
    let mut seen = vec![u32::MAX; definition.activities.len()];
    let resolve = |(number, activity): (u32, &crate::Activity)| {
        activity
            .depends_on
            .iter()
            .map(|dependency| {
                let error = |make: fn(Name, Name) -> PlanError| make(activity.id.clone(), dependency.clone());
                let Some(&found) = index.get(dependency) else {
                    return Err(error(|activity, dependency| PlanError::UnknownDependency {
                        activity,
                        dependency,
                    }));
                };
                if std::mem::replace(&mut seen[found as usize], number) == number {
                    return Err(error(|activity, dependency| PlanError::DuplicateDependency {
                        activity,
                        dependency,
                    }));
                }
                Ok(found)
            })
            .collect()
    };
    (0..).zip(&definition.activities).map(resolve).collect()
}

fn resolve(mappings: &[Mapping], index: &FxHashMap<Name, u32>) -> Result<Box<[PlannedInput]>, PlanError> {
    let planned = |mapping: &Mapping| {
        PlannedInput::parse(mapping, |id| index.get(id).copied()).map_err(|cause| PlanError::Source {
            source_text: mapping.source.clone(),
            cause,
        })
    };
    mappings.iter().map(planned).collect()
}

/// Makes the schemas of each activity type once.
struct Schemas<'a> {
    definitions: &'a BTreeMap<Name, Arc<ActivityDefinition>>,
    known: FxHashMap<&'a Name, Arc<ActivitySchemas>>,
}

impl Schemas<'_> {
    fn of(&mut self, r#type: &Name) -> Option<Arc<ActivitySchemas>> {
        let (r#type, definition) = self.definitions.get_key_value(r#type)?;
        let schemas = self.known.entry(r#type).or_insert_with(|| {
            let lazy = |holder: &Option<crate::SchemaHolder>| {
                holder
                    .as_ref()
                    .and_then(|holder| LazySchema::open_api(&holder.open_api_v3_schema))
            };
            Arc::new(ActivitySchemas {
                input: lazy(&definition.input_schema),
                output: lazy(&definition.output_schema),
            })
        });
        (schemas.input.is_some() || schemas.output.is_some()).then(|| Arc::clone(schemas))
    }
}

/// Reads every source document once, and writes the object of the targets.
fn collect<'a>(
    mappings: &[PlannedInput],
    run_input: &'a RawValue,
    mut output_of: impl FnMut(u32) -> Option<&'a RawValue>,
) -> Result<Box<RawValue>, MappedTooLarge> {
    let mut values = vec![None; mappings.len()];
    let mut by_source: Vec<usize> = (0..mappings.len()).collect();
    let source = |i: usize| mappings[i].source.activity();
    by_source.sort_by_key(|&i| source(i));
    for group in by_source.chunk_by(|&a, &b| source(a) == source(b)) {
        let document = match source(group[0]) {
            None => Some(run_input),
            Some(activity) => output_of(activity),
        };
        let Some(document) = document else { continue };
        let found = extract_all(document, group.iter().map(|&i| mappings[i].source.path()));
        group.iter().zip(found).for_each(|(&i, found)| values[i] = found);
    }
    let bytes = values.iter().flatten().map(|value| value.get().len()).sum();
    if bytes > MAX_MAPPED_BYTES {
        return Err(MappedTooLarge { bytes });
    }
    // Writing to memory cannot fail, and neither can text keys or values that are JSON already.
    Ok(to_raw_value(&Collected { mappings, values }).expect("an object of raw values can be written"))
}

struct Collected<'m, 'a> {
    mappings: &'m [PlannedInput],
    values: Vec<Option<&'a RawValue>>,
}

impl Serialize for Collected<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (mapping, value) in self.mappings.iter().zip(&self.values) {
            if let Some(value) = value {
                map.serialize_entry(&mapping.target, value)?;
            }
        }
        map.end()
    }
}
