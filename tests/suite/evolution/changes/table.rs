//! The changes: what is replaced by what in `slice.rs`, and where the host must say that it is.

/// A change, and how it is refused.
pub(super) struct Change {
    /// What was done, for people.
    pub(super) name: &'static str,
    /// Text of `slice.rs`, and what stands there instead.
    pub(super) edits: &'static [(&'static str, &'static str)],
    /// Type and member, as the one line begins.
    pub(super) place: &'static str,
}

const fn change(
    name: &'static str,
    edits: &'static [(&'static str, &'static str)],
    place: &'static str,
) -> Change {
    Change { name, edits, place }
}

/// What the ABI may do for ever: append.
pub(super) const COMPATIBLE: &[Change] = &[
    change("nothing", &[], ""),
    change(
        "a method with a default body appended to what the host implements",
        &[(
            "caller: RStr<'_>) -> RResult<RVec<u8>, Failure>;",
            "caller: RStr<'_>) -> RResult<RVec<u8>, Failure>;\n    fn later(&self) -> u32 { 0 }",
        )],
        "",
    ),
    change(
        "two methods with default bodies appended to what the plugin implements",
        &[(
            "fn shutdown(&mut self) -> RResult<(), Failure>;",
            "fn shutdown(&mut self) -> RResult<(), Failure>;\n    fn later(&mut self) -> u32 { 0 }\n    \
             fn latest(&mut self, task: Task) -> u32 { task.attempt }",
        )],
        "",
    ),
    change(
        "a field appended to the root module",
        &[(
            "-> RResult<Created, Failure>,",
            "-> RResult<Created, Failure>,\n    pub later: extern \"C\" fn() -> RString,",
        )],
        "",
    ),
];

/// What the layout check cannot see, tried: why the frozen text of the ABI is a test of its own.
pub(super) const UNSEEN: &[Change] = &[
    change(
        "two arguments of one type exchanged",
        &[(
            "to: RStr<'_>, deadline_ms: u64, caller: RStr<'_>",
            "caller: RStr<'_>, deadline_ms: u64, to: RStr<'_>",
        )],
        "",
    ),
    change(
        "another supertrait",
        &[("Part: Send", "Part: Send + Debug")],
        "",
    ),
];

/// What breaks a plugin that was compiled before.
pub(super) const INCOMPATIBLE: &[Change] = &[
    // Structs that are passed by value.
    change("field removed", &[("    pub records: u32,\n", "")], "Task"),
    change(
        "field added at the end of a struct by value",
        &[(
            "    pub epoch: u64,\n}\n\n#[repr(C)]\n#[derive(StableAbi)]\npub struct Batch",
            "    pub epoch: u64,\n    pub more: u64,\n}\n\n#[repr(C)]\n#[derive(StableAbi)]\npub struct Batch",
        )],
        "Task",
    ),
    change(
        "field added in the middle",
        &[(
            "    pub attempt: u32,\n",
            "    pub attempt: u32,\n    pub more: u32,\n",
        )],
        "Task",
    ),
    change(
        "fields of two types exchanged",
        &[(
            "    pub id: u64,\n    pub attempt: u32,\n",
            "    pub attempt: u32,\n    pub id: u64,\n",
        )],
        "Task",
    ),
    change(
        "fields of one type exchanged",
        &[(
            "    pub attempt: u32,\n    pub records: u32,\n",
            "    pub records: u32,\n    pub attempt: u32,\n",
        )],
        "Task",
    ),
    change(
        "field renamed",
        &[("pub attempt: u32", "pub try_number: u32")],
        "Task",
    ),
    change(
        "field u64 to i64",
        &[("pub id: u64", "pub id: i64")],
        "Task.id",
    ),
    change(
        "field u32 to u64",
        &[("pub records: u32", "pub records: u64")],
        "Task.records",
    ),
    change(
        "field u32 to f32",
        &[("pub records: u32", "pub records: f32")],
        "Task.records",
    ),
    change(
        "field u8 to bool",
        &[("pub kind: u8", "pub kind: bool")],
        "Failure.kind",
    ),
    change(
        "field text to bytes",
        &[("pub message: RString", "pub message: RVec<u8>")],
        "Failure.message",
    ),
    change(
        "slice of u8 to i8",
        &[("pub bytes: RSlice<'a, u8>", "pub bytes: RSlice<'a, i8>")],
        "Batch.bytes",
    ),
    change(
        "slice of u32 to u64",
        &[(
            "pub offsets: RSlice<'a, u32>",
            "pub offsets: RSlice<'a, u64>",
        )],
        "Batch.offsets",
    ),
    change(
        "borrowed slice to owned",
        &[(
            "pub bytes: RSlice<'a, u8>,\n}",
            "pub bytes: RVec<u8>,\n    pub name: RStr<'a>,\n}",
        )],
        "Batch",
    ),
    change(
        "vector's item",
        &[("pub offsets: RVec<u32>", "pub offsets: RVec<u64>")],
        "Out.offsets",
    ),
    change(
        "field made an option",
        &[("pub name: RString", "pub name: ROption<RString>")],
        "Created.name",
    ),
    change(
        "object made an option",
        &[("pub part: PartBox", "pub part: ROption<PartBox>")],
        "Created.part",
    ),
    change(
        "object for another one",
        &[("pub part: PartBox", "pub part: HostBox")],
        "Created.part",
    ),
    change(
        "struct renamed",
        &[
            ("pub struct Task", "pub struct Attempt"),
            ("task: Task", "task: Attempt"),
        ],
        "Part.on_task",
    ),
    change(
        "struct aligned otherwise",
        &[(
            "#[repr(C)]\n#[derive(StableAbi)]\npub struct Task",
            "#[repr(C, align(16))]\n#[derive(StableAbi)]\npub struct Task",
        )],
        "Task",
    ),
    // Enums.
    change("enum's repr", &[("#[repr(u8)]", "#[repr(u16)]")], "Level"),
    change(
        "enum's variant removed",
        &[("    Info = 3,\n", "")],
        "Level",
    ),
    change(
        "enum's variant appended",
        &[("    Info = 3,\n", "    Info = 3,\n    Debug = 4,\n")],
        "Level",
    ),
    change(
        "enum's variants exchanged",
        &[(
            "    Error = 1,\n    Warn = 2,\n",
            "    Warn = 1,\n    Error = 2,\n",
        )],
        "Level",
    ),
    change(
        "enum's variant renamed",
        &[("    Warn = 2,\n", "    Warning = 2,\n")],
        "Level",
    ),
    change(
        "enum's discriminant",
        &[("    Info = 3,\n", "    Info = 4,\n")],
        "Level",
    ),
    change("variant's content", &[("Done(u32)", "Done(i32)")], "Answer"),
    change(
        "variant's content added",
        &[("Done(u32)", "Done(u32, u32)")],
        "Answer",
    ),
    change(
        "variant's content removed",
        &[("Done(u32)", "Done")],
        "Answer",
    ),
    change(
        "unit variant given content",
        &[("    Never,\n", "    Never(u8),\n")],
        "Answer",
    ),
    change(
        "variant's field renamed",
        &[("Later { at: u64,", "Later { when: u64,")],
        "Answer",
    ),
    change(
        "variant's fields exchanged",
        &[(
            "Later { at: u64, why: RString }",
            "Later { why: RString, at: u64 }",
        )],
        "Answer",
    ),
    change(
        "data enum's variant appended",
        &[("    Never,\n", "    Never,\n    Perhaps,\n")],
        "Answer",
    ),
    // Methods.
    change(
        "method removed from the middle",
        &[(
            "    fn on_task(&mut self, task: Task) -> RResult<Answer, Failure>;\n",
            "",
        )],
        "Part",
    ),
    change(
        "method removed from the beginning",
        &[("    fn log(&self, level: Level, message: RStr<'_>);\n", "")],
        "Host",
    ),
    change(
        "last method removed",
        &[(
            "    fn on_task(&mut self, task: Task) -> RResult<Answer, Failure>;\n    #[sabi(last_prefix_field)]\n    fn shutdown(&mut self) -> RResult<(), Failure>;\n",
            "    #[sabi(last_prefix_field)]\n    fn on_task(&mut self, task: Task) -> RResult<Answer, Failure>;\n",
        )],
        "Part",
    ),
    change(
        "method renamed",
        &[("fn process(", "fn transform(")],
        "Part",
    ),
    change(
        "methods exchanged",
        &[(
            "    fn epoch_word(&self) -> &'static AtomicU64;\n    fn count(&self) -> u32;\n",
            "    fn count(&self) -> u32;\n    fn epoch_word(&self) -> &'static AtomicU64;\n",
        )],
        "Host",
    ),
    change(
        "method added in the middle",
        &[(
            "    fn count(&self) -> u32;\n",
            "    fn more(&self) -> u32;\n    fn count(&self) -> u32;\n",
        )],
        "Host",
    ),
    change(
        "method added at the beginning",
        &[("    fn log(", "    fn more(&self) -> u32;\n    fn log(")],
        "Host",
    ),
    change(
        "method added at the end as if it had always been there",
        &[(
            "    #[sabi(last_prefix_field)]\n    fn shutdown(&mut self) -> RResult<(), Failure>;\n",
            "    fn shutdown(&mut self) -> RResult<(), Failure>;\n    #[sabi(last_prefix_field)]\n    fn more(&mut self) -> u32;\n",
        )],
        "Part",
    ),
    change(
        "argument u64 to i64",
        &[("deadline_ms: u64", "deadline_ms: i64")],
        "Host.ask",
    ),
    change(
        "argument u64 to u32",
        &[("deadline_ms: u64", "deadline_ms: u32")],
        "Host.ask",
    ),
    change(
        "argument added",
        &[("task: Task)", "task: Task, more: u32)")],
        "Part.on_task",
    ),
    change("argument removed", &[("task: Task)", ")")], "Part.on_task"),
    change(
        "arguments of two types exchanged",
        &[(
            "level: Level, message: RStr<'_>",
            "message: RStr<'_>, level: Level",
        )],
        "Host.log",
    ),
    change(
        "argument lent to given",
        &[("out: &mut Out", "out: Out")],
        "Part.process",
    ),
    change(
        "argument &mut to &",
        &[("out: &mut Out", "out: &Out")],
        "Part.process",
    ),
    change(
        "argument borrowed text to owned",
        &[("message: RStr<'_>)", "message: RString)")],
        "Host.log",
    ),
    change(
        "argument's inner type",
        &[("Tuple2<RString, RString>", "Tuple2<RString, RVec<u8>>")],
        "Part.init",
    ),
    change(
        "argument's inner types exchanged for a struct",
        &[("extra: RVec<Tuple2<RString, RString>>", "extra: RVec<Task>")],
        "Part.init",
    ),
    change(
        "&mut self to &self",
        &[("fn on_task(&mut self", "fn on_task(&self")],
        "Part.on_task",
    ),
    change(
        "&self to &mut self",
        &[("fn count(&self", "fn count(&mut self")],
        "Host.count",
    ),
    change(
        "answer u32 to u64",
        &[("fn count(&self) -> u32", "fn count(&self) -> u64")],
        "Host.count",
    ),
    change(
        "answer taken away",
        &[("fn count(&self) -> u32", "fn count(&self)")],
        "Host.count",
    ),
    change(
        "answer given",
        &[("message: RStr<'_>);", "message: RStr<'_>) -> bool;")],
        "Host.log",
    ),
    change(
        "answer's error",
        &[("RResult<Answer, Failure>", "RResult<Answer, RString>")],
        "Part.on_task",
    ),
    change(
        "answer made infallible",
        &[("RResult<Answer, Failure>", "Answer")],
        "Part.on_task",
    ),
    change(
        "answer's atomic",
        &[("&'static AtomicU64", "&'static AtomicU32")],
        "Host.epoch_word",
    ),
    // Traits.
    change(
        "Sync taken from the host",
        &[("Host: Send + Sync", "Host: Send")],
        "Host",
    ),
    change(
        "Sync asked of the plugin",
        &[("Part: Send", "Part: Send + Sync")],
        "Part",
    ),
    change(
        "Send taken from the plugin",
        &[("Part: Send", "Part: Sync")],
        "Part",
    ),
    // The root module.
    change(
        "root's field removed",
        &[("    pub limit: u64,\n", "")],
        "Root",
    ),
    change(
        "root's field renamed",
        &[("pub limit", "pub bound")],
        "Root",
    ),
    change(
        "root's field type",
        &[("pub limit: u64", "pub limit: i64")],
        "Root.limit",
    ),
    change(
        "root's fields exchanged",
        &[(
            "    pub schema: extern \"C\" fn() -> RResult<RString, Failure>,\n    pub limit: u64,\n",
            "    pub limit: u64,\n    pub schema: extern \"C\" fn() -> RResult<RString, Failure>,\n",
        )],
        "Root",
    ),
    change(
        "root's function answers otherwise",
        &[("fn() -> RResult<RString, Failure>", "fn() -> RString")],
        "Root.schema",
    ),
    change(
        "root's function takes more",
        &[(
            "host: HostBox) -> RResult<Created",
            "host: HostBox, more: u32) -> RResult<Created",
        )],
        "Root.create",
    ),
    change(
        "root's function takes another object",
        &[(
            "host: HostBox) -> RResult<Created",
            "host: PartBox) -> RResult<Created",
        )],
        "Root.create",
    ),
    change(
        "root's function made data",
        &[(
            "pub schema: extern \"C\" fn() -> RResult<RString, Failure>",
            "pub schema: RStr<'static>",
        )],
        "Root",
    ),
    change(
        "root's first version cut short",
        &[(
            "    pub limit: u64,\n    #[sabi(last_prefix_field)]\n",
            "    #[sabi(last_prefix_field)]\n    pub limit: u64,\n",
        )],
        "Root",
    ),
];
