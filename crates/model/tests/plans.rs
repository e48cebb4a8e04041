//! Plans over random graphs and random payloads.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};
use unisono_model::{
    Activity, Catalog, Mapping, Name, OrchestrationDefinition, Path, Plan, PlanError, Source, parse, validate,
};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

/// A definition whose activity `i` is `a<i>` and depends on `dependencies[i]`.
fn definition(dependencies: &[BTreeSet<usize>]) -> OrchestrationDefinition {
    let activity = |(i, depends_on): (usize, &BTreeSet<usize>)| Activity {
        id: name(&format!("a{i}")),
        r#type: name("x"),
        discriminator: None,
        depends_on: depends_on.iter().map(|d| name(&format!("a{d}"))).collect(),
        inputs: Vec::new(),
    };
    OrchestrationDefinition {
        r#type: name("t"),
        version: Some(1),
        description: None,
        active: true,
        schema: json!({}),
        activities: dependencies.iter().enumerate().map(activity).collect(),
        output: None,
    }
}

fn compile(definition: &OrchestrationDefinition) -> Result<Plan, PlanError> {
    Plan::compile(definition, &BTreeMap::new())
}

/// A graph without cycles, its activities written down in a random order.
fn acyclic() -> impl Strategy<Value = Vec<BTreeSet<usize>>> {
    (1_usize..80).prop_flat_map(|size| {
        let edges = proptest::collection::vec((0..size, 0..size), 0..size * 3);
        let order = Just((0..size).collect::<Vec<_>>()).prop_shuffle();
        (edges, order).prop_map(move |(edges, place)| {
            let mut dependencies = vec![BTreeSet::new(); size];
            for (a, b) in edges.into_iter().filter(|(a, b)| a != b) {
                dependencies[place[a.max(b)]].insert(place[a.min(b)]);
            }
            dependencies
        })
    })
}

/// Everything that must be done before `vertex`, found the slow way.
fn upstream(dependencies: &[BTreeSet<usize>], vertex: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![vertex];
    while let Some(vertex) = open.pop() {
        open.extend(dependencies[vertex].iter().filter(|d| found.insert(**d)));
    }
    found
}

proptest! {
    #[test]
    fn a_graph_without_cycles_gets_a_topological_order_and_its_tiers(dependencies in acyclic()) {
        let plan = compile(&definition(&dependencies)).unwrap();
        let mut place = vec![usize::MAX; dependencies.len()];
        plan.order.iter().enumerate().for_each(|(at, &activity)| place[activity as usize] = at);
        prop_assert!(!place.contains(&usize::MAX), "every activity is in the order");
        prop_assert_eq!(plan.order.len(), dependencies.len());
        for (i, activity) in plan.activities.iter().enumerate() {
            let expected: Vec<u32> = dependencies[i].iter().map(|&d| d as u32).collect();
            let mut planned = activity.dependencies.to_vec();
            planned.sort_unstable();
            prop_assert_eq!(planned, expected);
            let last = activity.dependencies.iter().map(|&d| plan.activities[d as usize].tier + 1).max();
            prop_assert_eq!(activity.tier, last.unwrap_or(0));
            prop_assert!(plan.tiers[activity.tier as usize].contains(&(i as u32)));
            for &dependency in &activity.dependencies {
                prop_assert!(place[dependency as usize] < place[i]);
                prop_assert!(plan.activities[dependency as usize].dependents.contains(&(i as u32)));
            }
            prop_assert_eq!(plan.index_of(&activity.id), Some(i as u32));
        }
        let dependents: usize = plan.activities.iter().map(|a| a.dependents.len()).sum();
        prop_assert_eq!(dependents, dependencies.iter().map(BTreeSet::len).sum::<usize>());
        prop_assert_eq!(plan.tiers.concat(), plan.order.to_vec());
    }

    #[test]
    fn a_back_edge_is_refused_with_a_cycle_that_exists(
        mut dependencies in acyclic(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let from = from.index(dependencies.len());
        let mut above: Vec<usize> = upstream(&dependencies, from).into_iter().collect();
        above.push(from);
        let to = above[to.index(above.len())];
        dependencies[to].insert(from);
        let Err(PlanError::Cycle(cycle)) = compile(&definition(&dependencies)) else {
            return Err(TestCaseError::fail("a cycle was accepted"));
        };
        let number = |name: &Name| name[1..].parse::<usize>().unwrap();
        prop_assert!(!cycle.is_empty());
        for (at, activity) in cycle.iter().enumerate() {
            let next = &cycle[(at + 1) % cycle.len()];
            prop_assert!(dependencies[number(activity)].contains(&number(next)), "{activity} waits for {next}");
        }
        let distinct: BTreeSet<&Name> = cycle.iter().collect();
        prop_assert_eq!(distinct.len(), cycle.len());
    }

    #[test]
    fn an_output_is_readable_exactly_downstream(
        dependencies in acyclic(),
        reads in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..60),
    ) {
        let mut definition = definition(&dependencies);
        let size = dependencies.len();
        let mut expected = BTreeSet::new();
        for (reader, read) in reads.iter().map(|(a, b)| (a.index(size), b.index(size))) {
            let inputs = &mut definition.activities[reader].inputs;
            let place = inputs.len();
            inputs.push(Mapping { source: format!("a{read}.out"), target: Some(format!("in{place}")) });
            if !upstream(&dependencies, reader).contains(&read) {
                expected.insert(format!("activities[{reader}].inputs[{place}].source"));
            }
        }
        let text = format!("{} {}", serde_json::to_string(&definition).unwrap(), r#"{"type": "x", "provider": "p"}"#);
        let result = validate(&[parse(&Source { name: "t.json".into(), text })], &Catalog::default());
        let mistakes = result.err().unwrap_or_default();
        prop_assert!(mistakes.iter().all(|mistake| mistake.code == "not-upstream"), "{mistakes:?}");
        let found: BTreeSet<String> = mistakes.into_iter().map(|mistake| mistake.path).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn an_input_is_what_a_reader_of_whole_documents_would_make_of_it(
        input in payload(),
        outputs in proptest::collection::vec(proptest::option::of(payload()), 3),
        sources in proptest::collection::vec((0..4_usize, path()), 0..8),
    ) {
        let mut definition = definition(&[[].into(), [].into(), [].into(), [0, 1, 2].into()]);
        let mut expected = serde_json::Map::new();
        for (place, (document, path)) in sources.iter().enumerate() {
            let (source, document) = match document {
                3 => (format!("/{}", path.join("/")), Some(&input)),
                activity => (format!("a{activity}.{}", path.join(".")), outputs[*activity].as_ref()),
            };
            let target = format!("in{place}");
            if let Some(found) = document.and_then(|document| naive(document, path)) {
                expected.insert(target.clone(), found.clone());
            }
            definition.activities[3].inputs.push(Mapping { source, target: Some(target) });
        }
        definition.output = Some(definition.activities[3].inputs.clone());
        let plan = compile(&definition).unwrap();
        let (input, outputs): (_, Vec<_>) = (raw(&input), outputs.iter().map(|o| o.as_ref().map(raw)).collect());
        let output_of = |activity: u32| outputs.get(activity as usize)?.as_deref();
        let made = plan.activity_input(3, &input, output_of).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Value>(made.get()).unwrap(), &Value::Object(expected));
        let result = plan.run_output(&input, output_of).unwrap().unwrap();
        prop_assert_eq!(result.get(), made.get());
    }
}

fn naive<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, part| match value {
        Value::Object(properties) => properties.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Few names, so that paths meet values.
fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "0", "1", "é\""]).prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(key(), 1..4)
}

fn payload() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("JSON has no such number", |n| serde_json::Number::from_f64(n)
            .map(Value::from)),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

#[test]
fn a_value_is_copied_as_it_was_written() {
    let mut definition = definition(&[[].into()]);
    definition.activities[0].inputs = vec![Mapping {
        source: "n".into(),
        target: None,
    }];
    let plan = compile(&definition).unwrap();
    let input = RawValue::from_string(r#"{"n": {"x" : 1.50e0}}"#.to_owned()).unwrap();
    assert_eq!(
        plan.activity_input(0, &input, |_| None).unwrap().get(),
        r#"{"n":{"x" : 1.50e0}}"#
    );
    assert_eq!(plan.activity_input(9, &input, |_| None).unwrap().get(), "{}");
    assert!(plan.run_output(&input, |_| None).unwrap().is_none());
}

#[test]
fn values_that_are_mapped_too_often_are_refused_before_they_are_copied() {
    let mut definition = definition(&[[].into()]);
    definition.activities[0].inputs = (0..20)
        .map(|copy| Mapping {
            source: "n".into(),
            target: Some(format!("copy{copy}")),
        })
        .collect();
    definition.output = Some(definition.activities[0].inputs.clone());
    let plan = compile(&definition).unwrap();
    let input = |bytes: usize| RawValue::from_string(format!(r#"{{"n": "{}"}}"#, "x".repeat(bytes))).unwrap();
    let (fits, too_large) = (input(800_000), input(1_000_000));
    assert!(plan.activity_input(0, &fits, |_| None).is_ok());
    let refused = plan.activity_input(0, &too_large, |_| None).unwrap_err();
    assert_eq!(refused.bytes, 20 * 1_000_002);
    assert!(plan.run_output(&too_large, |_| None).is_err());
}

#[test]
fn a_definition_that_was_never_validated_is_refused_and_never_panics() {
    let mut twice = definition(&[[].into(), [].into()]);
    twice.activities[1].id = name("a0");
    assert_eq!(compile(&twice).unwrap_err(), PlanError::DuplicateActivity(name("a0")));
    assert_eq!(compile(&definition(&[])).unwrap_err(), PlanError::Empty);
    let mut unknown = definition(&[[].into()]);
    unknown.activities[0].depends_on = vec![name("zz")];
    assert!(matches!(compile(&unknown), Err(PlanError::UnknownDependency { .. })));
    let mut source = definition(&[[].into()]);
    source.activities[0].inputs = vec![Mapping {
        source: "a0.".into(),
        target: None,
    }];
    assert!(matches!(compile(&source), Err(PlanError::Source { .. })));
    let cycle = compile(&definition(&[[1].into(), [0].into()])).unwrap_err();
    assert_eq!(cycle.to_string(), "activities wait for each other: a0 → a1 → a0");
}

#[test]
fn payloads_are_checked_against_the_schemas_of_their_types() {
    let text = r#"
        {"type": "x", "inputSchema": {"openAPIV3Schema": {"required": ["port"], "properties": {"port":
            {"type": "integer", "nullable": true}}}}, "outputSchema": {"openAPIV3Schema": {"type": "object"}}}
        {"type": "t", "schema": {"properties": {"port": {}}}, "activities": [{"id": "a", "type": "x", "inputs": ["port"]}]}
    "#;
    let parsed = parse(&Source {
        name: "t.json".into(),
        text: text.into(),
    });
    let documents = validate(&[parsed], &Catalog::default()).unwrap();
    let [
        unisono_model::Document::Activity(x),
        unisono_model::Document::Orchestration(t),
    ] = &documents[..]
    else {
        panic!("two documents")
    };
    let plan = Plan::compile(t, &BTreeMap::from([(x.r#type.clone(), x.clone().into())])).unwrap();
    assert!(plan.validate_activity_input(0, &raw(&json!({"port": null}))).is_ok());
    let violations = plan
        .validate_activity_input(0, &raw(&json!({"port": "x"})))
        .unwrap_err();
    assert_eq!(violations[0].path, "port");
    assert_eq!(violations[0].message, "must be null or integer, is string");
    assert_eq!(plan.validate_activity_output(0, &raw(&json!([]))).unwrap_err().len(), 1);
    assert!(plan.validate_input(&raw(&json!({"port": 1}))).is_ok());
}

/// One definition of 100,000 activities, in which everything that could be quadratic would be.
fn large(dependencies: impl Fn(usize) -> Vec<usize>, reads: impl Fn(usize) -> Vec<usize>) -> String {
    let ids = |list: Vec<usize>| {
        list.into_iter()
            .map(|i| format!("\"a{i}\""))
            .collect::<Vec<_>>()
            .join(",")
    };
    let sources = |list: Vec<usize>| {
        list.into_iter()
            .map(|i| format!(r#"{{"source":"a{i}.v","target":"v{i}"}}"#))
            .collect::<Vec<_>>()
            .join(",")
    };
    let activity = |i| {
        format!(
            r#"{{"id":"a{i}","type":"x","dependsOn":[{}],"inputs":[{}]}}"#,
            ids(dependencies(i)),
            sources(reads(i))
        )
    };
    let activities: Vec<String> = (0..100_000).map(activity).collect();
    format!(
        r#"{{"type":"x","provider":"p"}}{{"type":"t","activities":[{}]}}"#,
        activities.join(",")
    )
}

#[test]
fn a_hundred_thousand_activities_are_judged_and_planned_without_a_cliff() {
    let previous = |i: usize| i.checked_sub(1).into_iter().collect::<Vec<_>>();
    let all_into_one = |i: usize| {
        if i == 99_999 { (0..99_999).collect() } else { Vec::new() }
    };
    let cases = [
        (
            "a chain, each reading the first",
            large(previous, |i| if i > 0 { vec![0] } else { Vec::new() }),
        ),
        (
            "a chain, each reading the one before the last",
            large(previous, |i| i.checked_sub(2).into_iter().collect()),
        ),
        ("a fan-in that reads everything", large(all_into_one, all_into_one)),
    ];
    for (case, text) in cases {
        let start = Instant::now();
        let parsed = parse(&Source {
            name: "large.json".into(),
            text,
        });
        let read = start.elapsed();
        let documents = validate(&[parsed], &Catalog::default()).unwrap_or_else(|m| panic!("{case}: {:?}", &m[0]));
        let judged = start.elapsed() - read;
        let unisono_model::Document::Orchestration(definition) = &documents[1] else {
            panic!("{case}")
        };
        let start = Instant::now();
        let plan = compile(definition).unwrap();
        println!(
            "{case}: read {read:?}, judged {judged:?}, planned {:?}",
            start.elapsed()
        );
        assert_eq!(plan.order.len(), 100_000);
        assert!(
            read + judged + start.elapsed() < std::time::Duration::from_secs(60),
            "{case}"
        );
    }
}

#[test]
fn a_large_cycle_is_found_without_a_deep_stack() {
    let dependencies: Vec<BTreeSet<usize>> = (0..100_000).map(|i| [(i + 1) % 100_000].into()).collect();
    let Err(PlanError::Cycle(cycle)) = compile(&definition(&dependencies)) else {
        panic!("a cycle was accepted")
    };
    assert_eq!(cycle.len(), 100_000);
}

#[test]
fn a_path_is_public_and_reads_what_it_writes() {
    assert_eq!(Path::parse("tenant.name").unwrap().last(), "name");
}
