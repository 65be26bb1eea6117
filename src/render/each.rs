//! `{{#each}}` with a budget, so that nested loops over much data end.

use std::sync::atomic::{AtomicUsize, Ordering};

use handlebars::template::TemplateElement;
use handlebars::{
    BlockContext, BlockParams, Handlebars, Helper, HelperDef, HelperResult, Output, PathAndJson,
    RenderContext, RenderError, RenderErrorReason, Renderable, Template,
};
use serde_json::Value;

use super::helpers::Refusal;

/// How many elements of templates the loops of one part may go through. A report of 1,000 rows
/// of 100 elements passes, and the limit is reached in well under a second.
const STEPS_MAX: usize = 100_000;

/// The helper, with what is left of the budget. One for each render of a part.
pub(crate) struct Each {
    steps_left: AtomicUsize,
}

impl Each {
    /// With the whole budget.
    pub(crate) fn new() -> Self {
        Self { steps_left: AtomicUsize::new(STEPS_MAX) }
    }

    fn spend(&self, steps: usize) -> Result<(), RenderError> {
        // A render has one thread; the atomic only makes the helper shareable.
        let left = self.steps_left.load(Ordering::Relaxed).checked_sub(steps).ok_or_else(|| {
            Refusal::Value("too many rounds of {{#each}}; put less data into the message".into())
        })?;
        self.steps_left.store(left, Ordering::Relaxed);
        Ok(())
    }
}

impl HelperDef for Each {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc handlebars::Context,
        render: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let param = helper.param(0).ok_or(RenderErrorReason::ParamNotFoundForIndex("each", 0))?;
        let items = match param.value() {
            Value::Array(_) | Value::Object(_) => items(param.value()),
            _ if helper.inverse().is_some() => Vec::new(),
            _ => return Err(RenderError::strict_error(param.relative_path())),
        };
        if items.is_empty() {
            return helper.inverse().map_or(Ok(()), |t| t.render(registry, context, render, out));
        }
        let Some(template) = helper.template() else { return Ok(()) };
        self.spend(items.len().saturating_mul(1 + weight(template)))?;
        for (idx, (key, value)) in items.iter().enumerate() {
            let mut block = block(helper, param, key, value)?;
            block.set_local_var("index", idx.into());
            block.set_local_var("first", (idx == 0).into());
            block.set_local_var("last", (idx + 1 == items.len()).into());
            render.push_block(block);
            template.render(registry, context, render, out)?;
            render.pop_block();
        }
        Ok(())
    }
}

/// Keys and values, maps in the order of their keys.
fn items(value: &Value) -> Vec<(Value, &Value)> {
    match value {
        Value::Array(list) => {
            list.iter().enumerate().map(|(idx, value)| (idx.into(), value)).collect()
        }
        Value::Object(map) => {
            let mut items: Vec<_> = map.iter().collect();
            items.sort_unstable_by_key(|(key, _)| *key);
            items.into_iter().map(|(key, value)| (key.as_str().into(), value)).collect()
        }
        _ => Vec::new(),
    }
}

/// The scope of one round: `this`, `@key`, and `as |value key|`.
fn block<'rc>(
    helper: &Helper<'rc>,
    param: &PathAndJson<'rc>,
    key: &Value,
    value: &Value,
) -> Result<BlockContext<'rc>, RenderError> {
    let mut block = BlockContext::new();
    let path = param.context_path();
    if let Some(path) = path {
        let segment = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        block.base_path_mut().extend(path.iter().cloned().chain([segment]));
    } else {
        block.set_base_value(value.clone());
    }
    if key.is_string() {
        block.set_local_var("key", key.clone());
    }
    let pair = helper.block_param_pair();
    if let Some(name) = pair.map(|pair| pair.0).or_else(|| helper.block_param()) {
        let mut params = BlockParams::new();
        if path.is_some() {
            params.add_path(name, Vec::new())?;
        } else {
            params.add_value(name, value.clone())?;
        }
        if let Some((_, key_name)) = pair {
            params.add_value(key_name, key.clone())?;
        }
        block.set_block_params(params);
    }
    Ok(block)
}

/// Elements of a template, those of its blocks included.
fn weight(template: &Template) -> usize {
    let element = |element: &TemplateElement| match element {
        TemplateElement::HelperBlock(block) => {
            1 + block.template.iter().chain(&block.inverse).map(weight).sum::<usize>()
        }
        _ => 1,
    };
    template.elements.iter().map(element).sum()
}
