//! How large things may be. One place, so that every face refuses the same sizes with the same numbers.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Bytes of a [`Name`](crate::Name).
pub const MAX_NAME_BYTES: usize = 128;
/// Activities in one orchestration definition.
pub const MAX_ACTIVITIES: usize = 100_000;
/// Bytes of one source (a file or a request body) that holds definitions.
pub const MAX_DEFINITION_BYTES: usize = 32 * MIB;
/// Bytes of a definition's `description`.
pub const MAX_DESCRIPTION_BYTES: usize = 16 * KIB;
/// Bytes of an activity's `discriminator` and of an activity definition's `provider`.
pub const MAX_DISCRIMINATOR_BYTES: usize = 256;
/// Bytes of the `source` or the `target` of one mapping.
pub const MAX_PATH_BYTES: usize = KIB;
/// Levels of nested objects and arrays in a definition.
pub const MAX_DEPTH: usize = 64;
/// Values that the aliases (`*name`) of one YAML source may add to it, so that a small file cannot become a huge one.
pub const MAX_ALIASED_VALUES: usize = 100_000;
/// Mistakes that one apply lists; the rest is counted.
pub const MAX_MISTAKES: usize = 1_000;
/// Bytes of the input of one run.
pub const MAX_INPUT_BYTES: usize = 16 * MIB;
/// Bytes of the output of one activity.
pub const MAX_OUTPUT_BYTES: usize = 16 * MIB;
/// Bytes of the values that are mapped into one activity's input or one run's result.
pub const MAX_MAPPED_BYTES: usize = 16 * MIB;
/// Bytes of the shared context of one run, all keys and values together.
pub const MAX_CONTEXT_BYTES: usize = MIB;
/// Labels of one run or one agent.
pub const MAX_LABELS: usize = 64;
/// Bytes of the value of one label.
pub const MAX_LABEL_VALUE_BYTES: usize = 256;
/// Bytes of an error's or a reason's text that is kept.
pub const MAX_REASON_BYTES: usize = 16 * KIB;
/// Bytes of the name of an entity.
pub const MAX_ENTITY_NAME_BYTES: usize = 256;
/// Bytes of the name of a group of targets.
pub const MAX_GROUP_NAME_BYTES: usize = 256;
/// Bytes of the name of a target.
pub const MAX_TARGET_NAME_BYTES: usize = 512;
/// Bytes of a version that is rolled out.
pub const MAX_VERSION_BYTES: usize = 256;
/// Bytes of a target's message that are kept; the rest is cut off.
pub const MAX_MESSAGE_BYTES: usize = KIB;
/// Targets that one report may name.
pub const MAX_REPORTED_TARGETS: usize = 100_000;
/// Targets of one entity.
pub const MAX_TARGETS: usize = 4_000_000;
/// Waves of one plan.
pub const MAX_WAVES: usize = 62;
/// Bytes of the key of a value.
pub const MAX_KEY_BYTES: usize = 512;
/// Bytes of a value.
pub const MAX_VALUE_BYTES: usize = MIB;
/// Bytes of the content type of a value.
pub const MAX_CONTENT_TYPE_BYTES: usize = 128;
/// Conditions and operations of one transaction, together.
pub const MAX_TRANSACTION_PARTS: usize = 128;
/// Bytes of the values that one transaction writes and compares, together.
pub const MAX_TRANSACTION_BYTES: usize = 4 * MIB;
/// Milliseconds until a value expires, or a wait ends, at most: ten years of 366 days.
pub const MAX_TTL_MS: u64 = 10 * 366 * 24 * 3600 * 1000;
/// Milliseconds of a lease at least: a shorter one would end before its renewal is durable.
pub const MIN_LEASE_MS: u64 = 100;
/// Milliseconds of a lease at most: one day.
pub const MAX_LEASE_MS: u64 = 24 * 3600 * 1000;
/// Values that vanish with one lease.
pub const MAX_LEASE_VALUES: usize = 10_000;
/// Who may wait for one lock.
pub const MAX_LOCK_QUEUE: usize = 16_384;
/// Permits of a semaphore.
pub const MAX_PERMITS: u32 = 16_384;
/// Bytes of what the leader of an election proclaims.
pub const MAX_PROCLAMATION_BYTES: usize = 64 * KIB;
/// Bytes of the JSON Schema of a future.
pub const MAX_FUTURE_SCHEMA_BYTES: usize = 64 * KIB;
