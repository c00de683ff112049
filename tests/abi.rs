//! `include/cloze.h` is what the library is: prototypes, layouts, constants, symbols, and clients of other versions.
//!
//! Needs a C compiler, `CC` or `cc`. `CLOZE_BLESS=1 cargo test --test abi` adds new functions to `abi/symbols.txt`.

#![allow(clippy::unwrap_used)] // a test may panic

mod built;
mod oracle;

use std::any::type_name;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;

use built::{Programs, c_compiler, compile, path, present, refusal, run, shared_library, soname};
use cloze::capi::*;

fn header() -> String {
    fs::read_to_string(path("include/cloze.h")).unwrap()
}

/// The header without comments.
fn declarations(header: &str) -> String {
    let mut kept = String::new();
    let mut rest = header;
    while let Some((code, comment)) = rest.split_once("/*") {
        kept.push_str(code);
        rest = comment.split_once("*/").unwrap().1;
    }
    kept + rest
}

/// Names that stand before an opening parenthesis in `text` after `marker`.
fn functions(text: &str, marker: &str) -> BTreeSet<String> {
    let name = |declaration: &str| {
        let before = declaration.split_once('(')?.0;
        let name = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        name.starts_with("cloze_").then(|| name.to_owned())
    };
    text.split(marker).skip(1).filter_map(name).collect()
}

fn header_functions() -> BTreeSet<String> {
    functions(&declarations(&header()), "\nCLOZE_API ")
}

/// What cbindgen makes of `src/capi`: prototypes only.
fn prototypes() -> String {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Type,
        no_includes: true,
        documentation: false,
        usize_is_size_t: true,
        ..cbindgen::Config::default()
    };
    config.export.item_types = vec![cbindgen::ItemType::Functions];
    let mut builder = cbindgen::Builder::new().with_config(config);
    for entry in fs::read_dir(path("src/capi")).unwrap() {
        builder = builder.with_src(entry.unwrap().path());
    }
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn prototypes_are_those_of_the_header() {
    let Some(cc) = c_compiler() else { return };
    let folder = tempfile::tempdir().unwrap();
    let prototypes = prototypes();
    let check = |prototypes: &str| {
        let file = write(folder.path(), "prototypes.c", &format!("#include <cloze.h>\n{prototypes}"));
        // for Windows: not as of a library that is loaded, which cbindgen does not say
        refusal(&cc, &["-std=c11", "-fsyntax-only", "-DCLOZE_STATIC", &file])
    };
    assert_eq!(check(&prototypes), None);
    // The compiler does compare: without one const it refuses.
    let changed = prototypes.replacen("const cloze_model *model", "cloze_model *model", 1);
    assert_ne!(changed, prototypes);
    assert!(check(&changed).is_some_and(|message| message.contains("conflicting types")));
}

/// One struct: its name, its size, and each field with its name, offset, size and Rust type.
struct Layout {
    name: &'static str,
    size: usize,
    fields: Vec<(&'static str, usize, usize, &'static str)>,
}

macro_rules! layouts {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        vec![$(Layout {
            name: stringify!($name),
            size: size_of::<$name>(),
            fields: vec![$({
                let (size, kind) = described(|it: &$name| &it.$field);
                (stringify!($field), offset_of!($name, $field), size, kind)
            }),*],
        }),*]
    };
}

fn described<T, F>(_: fn(&T) -> &F) -> (usize, &'static str) {
    (size_of::<F>(), type_name::<F>())
}

fn layouts() -> Vec<Layout> {
    layouts! {
        cloze_error { status, message }
        cloze_open_options { size, threads, device, precision, memory }
        cloze_file { name, data, size }
        cloze_info {
            size, layers, hidden, heads, intermediate, vocabulary, words, token_types, max_tokens, max_positions,
            embedding, labels, problem, tasks, has_tokenizer, threads, parameters,
        }
        cloze_input { text, text_size, pair, pair_size, ids, types, id_count }
        cloze_tokenize_options { size, text, max_tokens, offsets }
        cloze_token { input, id, r#type, word, text, position, start, end }
        cloze_fill_options {
            size, text, max_tokens, top_k, cancel, progress, user, targets, target_count, mask,
        }
        cloze_candidate { input, position, id, probability }
        cloze_score_options { size, text, max_tokens, method, cancel, progress, user, mask }
        cloze_text_score { log_likelihood, tokens }
        cloze_token_score { input, position, id, log_probability }
        cloze_call_options { size, text, max_tokens, reserved, cancel, progress, user }
        cloze_embed_options {
            size, text, max_tokens, pooling, cancel, progress, user, prompt, normalize, reserved,
        }
        cloze_tag_options {
            size, text, max_tokens, aggregation, cancel, progress, user, offsets, keep_outside,
        }
        cloze_entity { input, label, start, end, probability }
        cloze_target { kind, number, start, name, names, numbers, ids, count }
        cloze_read_options { size, format, header, reserved, text, pair, target }
        cloze_train_options {
            size, objective, trainable, layers, switches, max_tokens, epochs, order, batch_size, batch_tokens,
            accumulation, schedule, schedule_cycles, schedule_power, patience, keep_checkpoints, lora_rank, lora_alpha, lora_dropout, learning_rate,
            layer_decay, weight_decay, beta1, beta2, epsilon, max_gradient_norm, dropout, label_smoothing, schedule_end, warmup,
            threshold, max_steps, seed, evaluate_every, checkpoint_every, memory, cache_memory, cache_file, head,
            metric, checkpoints, labels, label_count, class_weights, class_weight_count, lora_targets,
            lora_target_count, masked, short_examples, random_next, dev_examples,
        }
        cloze_trainer_state { size, objective, labels, reserved, parameters, planned_memory, steps, epochs }
        cloze_metric { name, value }
        cloze_buffer { data, count }
        cloze_train_event {
            size, kind, step, total, epoch, seconds, loss, learning_rate, gradient_norm, examples, metrics,
            metric_count, folder, best, tokens, mlm_loss, mlm_accuracy, nsp_loss, nsp_accuracy,
        }
        cloze_fit_options { size, reserved, cancel, observe, user }
        cloze_solve_options { size, method, strength, cancel, progress, user }
        cloze_fit_result { size, stopped_early, steps, epochs, best_step, best_value }
        cloze_vocabulary_options { size, tokens, casing, lines, min_frequency, max_tokens }
        cloze_create_options { size, threads, objective, reserved, seed, device, precision, memory }
        cloze_corpus_options { size, lines, max_tokens, reserved }
        cloze_corpus_state { size, notices, documents, sentences, tokens }
        cloze_new_token { input, continuation, id, log_probability }
        cloze_generate_options {
            size, text, prompt_tokens, max_tokens, count, temperature, top_k, top_p, seed, cancel, progress, token,
            user, end,
        }
        cloze_device { size, usable, capability, precision, memory, free_memory, id, name, note }
    }
}

macro_rules! constants {
    ($($name:ident)*) => { vec![$((stringify!($name), i128::from($name as i64), is_greatest($name))),*] };
}

fn is_greatest<T: 'static>(value: T) -> bool {
    (&value as &dyn std::any::Any).downcast_ref() == Some(&usize::MAX)
}

/// Name, value, and whether it is the greatest size there is.
fn constants() -> Vec<(&'static str, i128, bool)> {
    constants! {
        CLOZE_ABI
        CLOZE_OK CLOZE_INVALID_ARGUMENT CLOZE_BUFFER_TOO_SMALL CLOZE_INVALID_INPUT CLOZE_IO CLOZE_INVALID_FILE
        CLOZE_UNSUPPORTED CLOZE_MISSING CLOZE_OUT_OF_MEMORY CLOZE_CANCELLED CLOZE_BUSY CLOZE_NO_DEVICE
        CLOZE_NOT_FINITE CLOZE_INTERNAL
        CLOZE_TASK_FILL CLOZE_TASK_SCORE CLOZE_TASK_NEXT_SENTENCE CLOZE_TASK_EMBED CLOZE_TASK_HIDDEN_STATES
        CLOZE_TASK_CLASSIFY CLOZE_TASK_TAG CLOZE_TASK_GENERATE
        CLOZE_PROBLEM_UNKNOWN CLOZE_PROBLEM_REGRESSION CLOZE_PROBLEM_SINGLE_LABEL CLOZE_PROBLEM_MULTI_LABEL
        CLOZE_NUL
        CLOZE_TEXT_PLAIN CLOZE_TEXT_TRUNCATE CLOZE_TEXT_REFUSE
        CLOZE_OFFSETS_BYTES CLOZE_OFFSETS_CODE_POINTS CLOZE_OFFSETS_UTF16
        CLOZE_SCORE_PLL CLOZE_SCORE_PLL_WORD_L2R CLOZE_SCORE_CAUSAL
        CLOZE_POOLING_AUTO CLOZE_POOLING_CLS CLOZE_POOLING_MEAN CLOZE_POOLING_MAX
        CLOZE_AGGREGATION_SIMPLE CLOZE_AGGREGATION_NONE CLOZE_AGGREGATION_FIRST CLOZE_AGGREGATION_AVERAGE
        CLOZE_AGGREGATION_MAX
        CLOZE_TARGET_NONE CLOZE_TARGET_LABEL CLOZE_TARGET_LABELS CLOZE_TARGET_NUMBERS CLOZE_TARGET_TAGS
        CLOZE_TARGET_ANSWER CLOZE_TARGET_TOKENS CLOZE_IGNORED
        CLOZE_FORMAT_AUTO CLOZE_FORMAT_TSV CLOZE_FORMAT_CSV CLOZE_FORMAT_JSONL CLOZE_FORMAT_CONLL CLOZE_FORMAT_LINES
        CLOZE_HEADER_DETECT CLOZE_HEADER_PRESENT CLOZE_HEADER_ABSENT
        CLOZE_OBJECTIVE_CLASSIFY CLOZE_OBJECTIVE_MULTI_LABEL CLOZE_OBJECTIVE_REGRESS CLOZE_OBJECTIVE_TAG
        CLOZE_OBJECTIVE_ANSWER CLOZE_OBJECTIVE_MASKED_LM CLOZE_OBJECTIVE_NEXT_SENTENCE CLOZE_OBJECTIVE_PRETRAINING
        CLOZE_OBJECTIVE_CAUSAL_LM
        CLOZE_TRAINABLE_ALL CLOZE_TRAINABLE_LAYERS CLOZE_TRAINABLE_TOP CLOZE_TRAINABLE_HEAD CLOZE_TRAINABLE_LORA
        CLOZE_ORDER_SHUFFLED CLOZE_ORDER_GIVEN CLOZE_ORDER_BY_LENGTH
        CLOZE_SCHEDULE_LINEAR CLOZE_SCHEDULE_COSINE CLOZE_SCHEDULE_COSINE_WITH_RESTARTS CLOZE_SCHEDULE_POLYNOMIAL
        CLOZE_SCHEDULE_CONSTANT CLOZE_SCHEDULE_CONSTANT_WITH_WARMUP CLOZE_SCHEDULE_INVERSE_SQRT
        CLOZE_TRAIN_FRESH_HEAD CLOZE_TRAIN_KEEP_LAST CLOZE_TRAIN_FROZEN_DROPOUT CLOZE_TRAIN_RANK_STABILIZED
        CLOZE_TRAIN_NO_SCRATCH_FILE CLOZE_TRAIN_WHOLE_WORDS CLOZE_TRAIN_SAME_MASKS
        CLOZE_TRAIN_UNIGRAM_BIAS
        CLOZE_CASING_UNCASED CLOZE_CASING_CASED CLOZE_CORPUS_PARAGRAPHS CLOZE_CORPUS_SENTENCES
        CLOZE_SOLVE_RIDGE CLOZE_SOLVE_DISCRIMINANT
        CLOZE_DTYPE_F32 CLOZE_DTYPE_F16 CLOZE_DTYPE_BF16 CLOZE_DTYPE_INT8
        CLOZE_PRECISION_AUTO CLOZE_PRECISION_F32 CLOZE_PRECISION_BF16 CLOZE_PRECISION_F16
        CLOZE_PRECISION_INT8 CLOZE_MEMORY_FAST CLOZE_MEMORY_LEAST
        CLOZE_MAX_METRICS CLOZE_EVENT_STEP CLOZE_EVENT_EVALUATION CLOZE_EVENT_CHECKPOINT
    }
}

/// A Rust type as C spells it.
fn c_type(rust: &str) -> String {
    if let Some(pointee) = rust.strip_prefix("*const ").filter(|pointee| pointee.starts_with('*')) {
        return format!("{}const *", c_type(pointee));
    }
    if let Some(pointee) = rust.strip_prefix("*const ") {
        return format!("const {} *", if matches!(pointee, "i8" | "u8") { "char".into() } else { c_type(pointee) });
    }
    if let Some(pointee) = rust.strip_prefix("*mut ") {
        return format!("{} *", c_type(pointee));
    }
    match rust {
        "i32" | "u32" | "u64" => format!("{}_t", rust.replace('u', "uint").replace("i3", "int3")),
        "usize" => "size_t".into(),
        "f32" => "float".into(),
        "f64" => "double".into(),
        array if array.starts_with("[i8; ") || array.starts_with("[u8; ") => "char *".into(), // what it is in an expression
        PROGRESS => "cloze_progress".into(),
        other if other == told::<cloze_train_event>() => "cloze_observe".into(),
        other if other == told::<cloze_new_token>() => "cloze_token_callback".into(),
        other => other.rsplit("::").next().unwrap().replace("c_void", "void"),
    }
}

/// A callback that is told something.
fn told<T>() -> String {
    let event = type_name::<T>();
    format!("core::option::Option<unsafe extern \"C\" fn(*mut core::ffi::c_void, *const {event}) -> i32>")
}

const PROGRESS: &str = "core::option::Option<unsafe extern \"C\" fn(*mut core::ffi::c_void, u64, u64) -> i32>";

#[test]
fn layouts_and_constants_are_those_of_the_header() {
    let mut c = String::from("#include <cloze.h>\n");
    for Layout { name, size, fields } in layouts() {
        writeln!(c, "_Static_assert(sizeof({name}) == {size}, \"size of {name}\");").unwrap();
        let mut end = 0;
        for (field, offset, size, kind) in fields {
            assert_eq!(offset, end, "{name}.{field}: a hole before it, or a field that this test does not list");
            end = offset + size;
            let (field, kind) = (field.trim_start_matches("r#"), c_type(kind));
            writeln!(c, "_Static_assert(offsetof({name}, {field}) == {offset}, \"offset of {name}.{field}\");")
                .unwrap();
            writeln!(c, "_Static_assert(sizeof((({name} *)0)->{field}) == {size}, \"size of {name}.{field}\");")
                .unwrap();
            writeln!(
                c,
                "_Static_assert(_Generic((({name} *)0)->{field}, {kind}: 1, default: 0), \"type of {name}.{field}\");"
            )
            .unwrap();
        }
        assert_eq!(end, size, "{name}: padding at its end, or a field that this test does not list");
    }
    for (name, value, greatest) in constants() {
        let value = if greatest { "SIZE_MAX".to_owned() } else { value.to_string() };
        writeln!(c, "_Static_assert({name} == {value}, \"value of {name}\");").unwrap();
    }
    assert_eq!((type_name::<cloze_status>(), type_name::<cloze_progress>()), ("i32", PROGRESS));
    writeln!(c, "_Static_assert(_Generic((cloze_status)0, int32_t: 1, default: 0), \"cloze_status\");").unwrap();
    assert_eq!(type_name::<cloze_observe>(), told::<cloze_train_event>());
    assert_eq!(type_name::<cloze_token_callback>(), told::<cloze_new_token>());
    for (name, event) in [("cloze_observe", "cloze_train_event"), ("cloze_token_callback", "cloze_new_token")] {
        let told = format!("int (*)(void *, const {event} *)");
        writeln!(c, "_Static_assert(_Generic(({name})0, {told}: 1, default: 0), \"{name}\");").unwrap();
    }
    let progress = "int (*)(void *, uint64_t, uint64_t)";
    writeln!(c, "_Static_assert(_Generic((cloze_progress)0, {progress}: 1, default: 0), \"cloze_progress\");").unwrap();

    let Some(cc) = c_compiler() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "layouts.c", &c);
    compile(&cc, &["-std=c11", "-fsyntax-only", &file]);
}

/// The two lists above miss nothing that the header has.
#[test]
fn every_struct_and_constant_of_the_header_is_compared() {
    let text = declarations(&header());
    let structs: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("typedef struct ")?.strip_suffix(" {")).collect();
    assert_eq!(structs, layouts().iter().map(|layout| layout.name).collect());
    let defined = text.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("#define ")?.split_once(' ')?;
        (!name.ends_with("_INIT") && name != "CLOZE_API" && !value.trim().is_empty()).then_some(name)
    });
    assert_eq!(defined.collect::<BTreeSet<_>>(), constants().iter().map(|constant| constant.0).collect());
}

/// The dynamic symbols of the built library.
fn exported() -> Option<BTreeSet<String>> {
    // the tool, what it is asked, and what stands before a name
    let (tool, arguments, before): (_, &[&str], _) = match std::env::consts::OS {
        "windows" => ("objdump", &["-p"], "\t["),
        "macos" => ("nm", &["-gUj"], "_"),
        _ => ("nm", &["-D", "--defined-only"], ""),
    };
    present(tool).then(|| {
        let output = run(Command::new(tool).args(arguments).arg(shared_library()));
        // Windows: imports and addresses come first
        let names = output.rsplit_once("[Ordinal/Name Pointer]").map_or(&*output, |(_, names)| names);
        let lines = names.lines().filter_map(|line| line.strip_prefix(before));
        lines.filter_map(|line| line.split_whitespace().last()).map(String::from).collect()
    })
}

#[test]
fn the_same_functions_are_everywhere() {
    let declared = header_functions();
    assert!(declared.len() >= 55, "{declared:?}");
    let defined: BTreeSet<String> = prototypes().split(';').flat_map(|text| functions(text, "\n")).collect();
    assert_eq!(declared, defined, "declared in cloze.h, defined in src/capi");
    if let Some(exported) = exported() {
        assert_eq!(declared, exported, "declared in cloze.h, exported by the library");
    }
    let list = path("tests/abi/symbols.txt");
    let kept: BTreeSet<String> = fs::read_to_string(&list).unwrap_or_default().lines().map(String::from).collect();
    let gone: Vec<&String> = kept.difference(&declared).collect();
    assert!(gone.is_empty(), "functions that clients may call are gone: {gone:?}");
    if std::env::var_os("CLOZE_BLESS").is_some() {
        fs::write(&list, declared.iter().map(|name| format!("{name}\n")).collect::<String>()).unwrap();
    } else {
        assert_eq!(declared, kept, "declared in cloze.h, listed in tests/abi/symbols.txt");
    }
}

#[test]
fn every_declaration_says_since_when() {
    let header = header();
    let mut seen = 0;
    let mut comment = String::new();
    for line in header.lines().skip_while(|line| *line != "#ifndef CLOZE_H") {
        if line.starts_with("/*") {
            comment.clear();
        }
        let declares = ["CLOZE_API ", "typedef ", "static inline "].iter().any(|start| line.starts_with(start));
        if declares {
            assert!(comment.contains("@since ") && comment.trim_end().ends_with("*/"), "no @since before: {line}");
            seen += 1;
        }
        if line.starts_with(['/', ' ']) {
            comment.push_str(line);
        } else {
            comment.clear();
        }
    }
    assert!(seen > 90, "{seen}");
}

#[test]
fn the_header_is_plain_c_and_cpp() {
    let (Some(cc), Some(programs)) = (c_compiler(), Programs::new()) else { return };
    let twice = "#include <cloze.h>\n#include <cloze.h>\n";
    let c = write(programs.folder(), "twice.c", twice);
    let cpp = write(programs.folder(), "twice.cpp", twice);
    for standard in ["-std=c99", "-std=c11"] {
        compile(&cc, &[standard, "-fsyntax-only", &c]);
    }
    if present("c++") {
        compile("c++", &["-std=c++17", "-fsyntax-only", &cpp]);
    }
    let units = ["a", "b"].map(|unit| {
        let text = format!("{twice}int {unit}(void);\nint {unit}(void) {{ return cloze_text(\"x\").pair == NULL; }}\n");
        write(programs.folder(), &format!("{unit}.c"), &text)
    });
    let main = "#include <cloze.h>\nint a(void);\nint b(void);\nint main(void) { return !(a() && b() && cloze_abi() == CLOZE_ABI); }\n";
    let main = write(programs.folder(), "main.c", main);
    run(&mut Command::new(programs.build("units", &[Path::new(&main), Path::new(&units[0]), Path::new(&units[1])])));
}

#[test]
fn initialisers_give_the_size_and_zeros() {
    let mut c = String::from("#include <cloze.h>\n#include <string.h>\nint main(void) {\n");
    let header = header();
    let names: Vec<&str> =
        layouts().iter().map(|layout| layout.name).filter(|name| header.contains(&macro_of(name))).collect();
    assert_eq!(names.len(), header.matches("_INIT {").count());
    for (number, name) in names.iter().enumerate() {
        let initialiser = macro_of(name);
        writeln!(c, "    {name} s{number} = {initialiser}, z{number};").unwrap();
        writeln!(c, "    memset(&z{number}, 0, sizeof z{number});\n    z{number}.size = sizeof z{number};").unwrap();
        writeln!(c, "    if (memcmp(&s{number}, &z{number}, sizeof z{number})) return {};", number + 1).unwrap();
    }
    c.push_str("    return 0;\n}\n");
    let Some(programs) = Programs::new() else { return };
    let file = write(programs.folder(), "init.c", &c);
    run(&mut Command::new(programs.build("init", &[Path::new(&file)])));
}

fn macro_of(name: &str) -> String {
    format!("{}_INIT", name.to_uppercase())
}

/// Macros, types and functions of a header without its comments, white space made plain.
fn items(header: &str) -> Vec<String> {
    let (mut items, mut item, mut depth) = (Vec::new(), String::new(), 0);
    for line in declarations(header).lines().map(str::trim) {
        if line.is_empty() || line == "extern \"C\" {" || (depth == 0 && line == "}") {
            continue;
        }
        item.push_str(&line.split_whitespace().collect::<Vec<_>>().join(" "));
        item.push(' ');
        depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
        let ends = if item.starts_with('#') { !line.ends_with('\\') } else { line.ends_with([';', '}']) };
        if ends && depth == 0 {
            items.push(std::mem::take(&mut item).trim_end().to_owned());
        }
    }
    items
}

/// Structs may have grown at their tail, and their initialisers with them; all else is as it was.
#[test]
fn nothing_that_was_promised_has_changed() {
    let promised = fs::read_to_string(path("tests/abi/cloze-0.3.0.h")).unwrap();
    let (promised, now) = (items(&promised), items(&header()));
    assert!(promised.len() > 200, "{promised:#?}");
    assert!(promised.iter().any(|item| item.starts_with("typedef struct cloze_info { uint32_t size; ")));
    for item in promised {
        let kept = match item.rsplit_once("} cloze_") {
            Some((fields, _)) if item.starts_with("typedef struct ") => now.iter().any(|new| new.starts_with(fields)),
            _ if item.contains("_INIT {") => continue,
            _ => now.contains(&item),
        };
        assert!(kept, "changed or gone: {item}");
    }
}

/// A program built with a header whose structs are shorter, and one whose structs are longer, run with this library.
#[test]
fn clients_of_other_versions_get_right_answers() {
    let Some(programs) = Programs::new() else { return };
    for client in ["old_client", "new_client"] {
        let program = programs.build(client, &[&path(&format!("tests/abi/{client}.c"))]);
        let printed = run(Command::new(program).arg(path("tests/golden/sentence")));
        let first: Vec<f32> = printed.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let expected = oracle::Expected::read(&path("tests/golden/sentence")).floats("embeddings").unwrap();
        assert_eq!(first.len(), 12, "{client}");
        for (value, expected) in first.iter().zip(&expected) {
            assert!((value - expected).abs() < 1e-5, "{client}: {first:?}, expected {expected:?}");
        }
    }
}

#[test]
fn the_soname_carries_the_abi_number() {
    let soname = soname();
    let (tool, arguments, told): (_, &[&str], _) = match std::env::consts::OS {
        "windows" => ("objdump", &["-p"], format!(" {soname}\n")), // in its table of exports
        "macos" => ("otool", &["-D"], format!("@rpath/{soname}\n")),
        _ => ("readelf", &["-d", "-W"], format!("Library soname: [{soname}]")),
    };
    if present(tool) {
        let dynamic = run(Command::new(tool).args(arguments).arg(shared_library()));
        assert!(dynamic.contains(&told), "{dynamic}");
    }
    // Programs that were linked against the library look for that name, the only one in their folder.
    let Some(programs) = Programs::new() else { return };
    let main =
        write(programs.folder(), "soname.c", "#include <cloze.h>\nint main(void) { return !cloze_version(); }\n");
    let program = programs.build("soname", &[Path::new(&main)]);
    assert!(programs.folder().join(&soname).exists());
    run(&mut Command::new(program));
}
