//! What definitions mean: every rule that must hold before anything is stored, and every breach of one at once.
//!
//! All documents of one apply are judged together and against what is stored: an orchestration may use an activity
//! definition that stands beside it, and a changed activity definition must still fit the orchestrations that use it.

mod fit;
mod mappings;
mod orchestration;
mod types;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    ActivityDefinition, Document, Mistake, Name, OrchestrationDefinition,
    document::{Draft, DraftActivityDefinition, DraftOrchestration, DraftSchema, Finding, Parsed},
    limits::MAX_MISTAKES,
    nearest::{Nearest, listed},
    problem::Span,
    schema::{defects, from_open_api, written},
};
use orchestration::Judge;
use types::Types;

/// What is stored in the namespace.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Activity definitions by type.
    pub activity_definitions: BTreeMap<Name, Arc<ActivityDefinition>>,
    /// The newest version of each orchestration definition, by type.
    pub orchestration_definitions: BTreeMap<Name, Arc<OrchestrationDefinition>>,
}

impl Catalog {
    /// Types of the orchestration definitions that use an activity definition, which can therefore not be deleted.
    pub fn users_of(&self, activity_type: &Name) -> Vec<Name> {
        let uses = |definition: &OrchestrationDefinition| {
            definition
                .activities
                .iter()
                .any(|activity| activity.r#type == *activity_type)
        };
        let users = self
            .orchestration_definitions
            .iter()
            .filter(|(_, definition)| uses(definition));
        users.map(|(name, _)| name.clone()).collect()
    }
}

/// Judges all documents of one apply together.
///
/// # Errors
/// Every mistake, those of [`crate::document::parse`] included, by file and line. When there are more than
/// [`MAX_MISTAKES`], the last one says how many are left out.
pub fn validate(parsed: &[Parsed], existing: &Catalog) -> Result<Vec<Document>, Vec<Mistake>> {
    let mut mistakes: Vec<Mistake> = parsed.iter().flat_map(Parsed::mistakes).cloned().collect();
    let mut apply = Apply {
        parsed,
        existing,
        types: Types::new(parsed, existing),
        nearest: Nearest::new(),
    };
    apply.judge(&mut mistakes);
    if mistakes.is_empty() {
        let drafts = parsed.iter().flat_map(|parsed| &parsed.drafts);
        return Ok(drafts.filter_map(Draft::to_document).collect());
    }
    mistakes.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    shorten(&mut mistakes);
    Err(mistakes)
}

fn shorten(mistakes: &mut Vec<Mistake>) {
    let more = mistakes.len().saturating_sub(MAX_MISTAKES);
    if more > 0 {
        mistakes.truncate(MAX_MISTAKES + 1);
        if let Some(last) = mistakes.last_mut() {
            last.code = "too-many-mistakes".into();
            last.message = format!("there are {more} more mistakes from here on");
            last.help = "correct the mistakes listed so far, and apply again".to_owned();
        }
    }
}

struct Apply<'a> {
    parsed: &'a [Parsed],
    existing: &'a Catalog,
    types: Types<'a>,
    nearest: Nearest,
}

impl<'a> Apply<'a> {
    fn judge(&mut self, mistakes: &mut Vec<Mistake>) {
        let mut defined: HashMap<(bool, &str), String> = HashMap::new();
        for parsed in self.parsed {
            for draft in &parsed.drafts {
                let mut findings = Vec::new();
                let r#type = match draft {
                    Draft::Orchestration(draft) => {
                        self.orchestration(draft, &mut findings);
                        draft.r#type.as_ref().map(|r#type| (true, r#type))
                    }
                    Draft::Activity(draft) => {
                        self.activity_definition(draft, &mut findings);
                        draft.r#type.as_ref().map(|r#type| (false, r#type))
                    }
                };
                if let Some((kind, at)) = r#type {
                    let here = parsed.locate(Finding::new("", (at.span, ""), "", ""));
                    let place = format!("{}:{}", here.file, here.line);
                    if let Some(first) = defined.insert((kind, &at.value), place) {
                        let message = format!("the type `{}` is already defined at {first}", at.value);
                        let help = "keep one of the two definitions, or give one of them another type";
                        findings.push(Finding::new("duplicate-type", (at.span, "type"), message, help));
                    }
                }
                mistakes.extend(findings.into_iter().map(|finding| parsed.locate(finding)));
            }
        }
        self.users(mistakes);
    }

    fn orchestration(&mut self, draft: &DraftOrchestration, findings: &mut Vec<Finding>) {
        if let Some(schema) = &draft.schema {
            schema_defects(schema, "schema", false, findings);
        }
        Judge::new(draft, &mut self.types, &self.nearest, findings).judge();
    }

    fn activity_definition(&self, draft: &DraftActivityDefinition, findings: &mut Vec<Finding>) {
        let schemas = [
            ("inputSchema", &draft.input_schema),
            ("outputSchema", &draft.output_schema),
        ];
        for (name, schema) in schemas {
            if let Some(schema) = schema {
                schema_defects(schema, &format!("{name}.openAPIV3Schema"), true, findings);
            }
        }
    }

    /// Stored orchestration definitions that use an activity definition of this apply must still fit it.
    fn users(&mut self, mistakes: &mut Vec<Mistake>) {
        let changed = self.changed();
        let applied: BTreeSet<&Name> = self.orchestration_types().collect();
        for (user, definition) in &self.existing.orchestration_definitions {
            let concerned = definition
                .activities
                .iter()
                .any(|activity| changed.contains_key(&activity.r#type));
            if !concerned || applied.contains(user) {
                continue;
            }
            let mut findings = Vec::new();
            Judge::new(
                &DraftOrchestration::from(&**definition),
                &mut self.types,
                &self.nearest,
                &mut findings,
            )
            .judge();
            for (r#type, (parsed, span)) in &changed {
                let broken: Vec<&Finding> = findings
                    .iter()
                    .filter(|finding| finding.types.contains(r#type))
                    .collect();
                if !broken.is_empty() {
                    mistakes.push(parsed.locate(breaks(user, definition, &broken, *span)));
                }
            }
        }
    }

    /// Activity definitions of this apply that differ from what is stored.
    fn changed(&self) -> BTreeMap<&'a Name, (&'a Parsed, Span)> {
        let mut changed = BTreeMap::new();
        for parsed in self.parsed {
            for draft in &parsed.drafts {
                let Draft::Activity(draft) = draft else {
                    continue;
                };
                let Some(r#type) = &draft.r#type else {
                    continue;
                };
                let stored = self.existing.activity_definitions.get(&r#type.value);
                if stored.is_some_and(|stored| draft.to_definition().as_ref() != Some(stored)) {
                    changed.insert(&r#type.value, (parsed, r#type.span));
                }
            }
        }
        changed
    }

    fn orchestration_types(&self) -> impl Iterator<Item = &'a Name> + use<'a> {
        self.parsed
            .iter()
            .flat_map(|parsed| &parsed.drafts)
            .filter_map(|draft| match draft {
                Draft::Orchestration(draft) => draft.r#type.as_ref().map(|r#type| &r#type.value),
                Draft::Activity(_) => None,
            })
    }
}

fn breaks(user: &Name, definition: &OrchestrationDefinition, broken: &[&Finding], span: Span) -> Finding {
    const SHOWN: usize = 3;
    let mut reasons: Vec<String> = broken
        .iter()
        .take(SHOWN)
        .map(|finding| format!("{}: {}", finding.path, finding.message))
        .collect();
    if broken.len() > SHOWN {
        reasons.push(format!("and {} more", broken.len() - SHOWN));
    }
    let version = definition
        .version
        .map(|version| format!(" (version {version})"))
        .unwrap_or_default();
    let message = format!(
        "this change would break the orchestration definition `{user}`{version}: {}",
        reasons.join("; ")
    );
    let help = format!("keep the schemas compatible, or apply a changed `{user}` together with this definition");
    Finding::new("breaks-user", (span, "type"), message, help)
}

fn schema_defects(schema: &DraftSchema, path: &str, open_api: bool, findings: &mut Vec<Finding>) {
    let translated = if open_api {
        from_open_api(&schema.value)
    } else {
        schema.value.clone()
    };
    for defect in defects(&translated) {
        let span = schema
            .node
            .as_ref()
            .map(|node| node.nearest(&defect.place).span)
            .unwrap_or_default();
        let below = written(&defect.place);
        let path = match below.is_empty() {
            true => path.to_owned(),
            false => format!("{path}.{below}"),
        };
        let dialect = if open_api {
            "a schema object of OpenAPI 3.0"
        } else {
            "a JSON Schema"
        };
        let message = format!("the schema is not valid here: {}", defect.message);
        findings.push(Finding::new(
            "invalid-schema",
            (span, path),
            message,
            format!("write {dialect}"),
        ));
    }
}

/// The help for a name that is not among the known ones.
fn known<'c>(nearest: &Nearest, word: &str, names: impl Iterator<Item = &'c str> + Clone, none: &str) -> String {
    nearest.help(word, names.clone(), || {
        let all = listed(names);
        if all.is_empty() {
            none.to_owned()
        } else {
            format!("known are {all}")
        }
    })
}
