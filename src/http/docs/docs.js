/* Draws /openapi.json: routes by tag, parameters, bodies, schemas, a curl line for each, and a form to try GET routes.
 * No library, and no innerHTML: texts of the document are never markup. Inner schemas are drawn when they are opened,
 * because schemas refer to one another. */
"use strict";

const $ = (id) => document.getElementById(id);
const methods = ["get", "post", "put", "patch", "delete"];
let doc;

/* el("p.text", "child", [more]) */
function el(spec, ...children) {
  const [tag, ...classes] = spec.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const child of children.flat()) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}

/* A text with `code` in it. */
function words(text) {
  return String(text ?? "").split("`").map((part, i) => (i % 2 ? el("code", part) : part)).filter((part) => part !== "");
}

const refName = (schema) => schema?.$ref?.split("/").pop();
function resolve(schema) {
  const name = refName(schema);
  return name ? { ...doc.components.schemas[name], ...(schema.description ? { description: schema.description } : {}) } : (schema ?? {});
}

/* "array of Analysis", "number or null", "text, date-time" */
function kind(schema) {
  if (!schema) return "anything";
  if (schema.$ref) return refName(schema);
  if (schema.allOf) return schema.allOf.map(kind).join(" and ");
  if (schema.oneOf) return schema.oneOf.map(kind).join(" or ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const types = [].concat(schema.type ?? (schema.properties ? "object" : schema.enum ? "string" : "anything"));
  const text = types.map((type) => (type === "array" && schema.items ? `array of ${kind(schema.items)}` : type)).join(" or ");
  const form = schema.format ?? (schema.contentMediaType ? "bytes" : schema.contentEncoding);
  return form ? `${text}, ${form}` : text;
}

function limits(schema) {
  const at = resolve(schema);
  const list = [];
  if (at.enum) list.push(at.enum.map((value) => `\`${value}\``).join(" "));
  if (at.minimum !== undefined && at.maximum !== undefined) list.push(`${at.minimum} to ${at.maximum}`);
  else if (at.minimum !== undefined) list.push(`at least ${at.minimum}`);
  else if (at.maximum !== undefined) list.push(`at most ${at.maximum}`);
  if (at.maxLength !== undefined) list.push(`up to ${at.maxLength} characters`);
  if (at.maxItems !== undefined) list.push(`up to ${at.maxItems}`);
  if (at.default !== undefined) list.push(`default \`${at.default}\``);
  if (at.examples) list.push(`such as \`${at.examples[0]}\``);
  return list.join("; ");
}

/* The schema that has something to open: an object with properties, or what lies in an array or a choice. */
function openable(schema) {
  const at = resolve(schema);
  if (at.properties || at.allOf) return [at];
  if (at.items) return openable(at.items);
  if (at.oneOf) return at.oneOf.flatMap(openable);
  return [];
}

function lazy(title, draw) {
  const box = el("details.inner", el("summary", title));
  box.addEventListener("toggle", () => {
    if (box.open && box.childElementCount === 1) box.append(...[].concat(draw()));
  });
  return box;
}

function property(name, schema, required) {
  const at = resolve(schema);
  const note = [at.description, limits(schema)].filter(Boolean).join(" ");
  const inner = openable(schema);
  return el("li",
    el("code", name), " ", el("span.kind", kind(schema)), required ? null : el("span.kind", " · may be absent"),
    note ? el("p.note", words(note)) : null,
    inner.length ? lazy("what is in it", () => inner.map(tree)) : null);
}

function tree(schema) {
  const at = resolve(schema);
  const parts = at.allOf ? at.allOf.map(resolve) : [at];
  return el("ul.tree", parts.flatMap((part) =>
    Object.entries(part.properties ?? {}).map(([name, value]) => property(name, value, part.required?.includes(name)))));
}

function contents(content) {
  return Object.entries(content ?? {}).map(([type, media]) => {
    const inner = media.schema ? openable(media.schema) : [];
    const note = media.schema ? resolve(media.schema).description : "";
    return el("div",
      el("p.text", el("code", type), " ", media.schema ? el("span.kind", kind(media.schema)) : null),
      note ? el("p.text", words(note)) : null,
      inner.length ? lazy("fields", () => inner.map(tree)) : null);
  });
}

function example(path, method, operation) {
  let target = path;
  const query = [], args = [];
  for (const parameter of operation.parameters ?? []) {
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, "ID");
    else if (parameter.in === "query" && parameter.required) query.push(`${parameter.name}=${parameter.name === "id" ? "ID" : "…"}`);
    else if (parameter.in === "header" && parameter.required) args.push(`-H '${parameter.name}: …'`);
  }
  target = target.replace(/\{[^}]+\}/g, "ID");
  if (query.length) target += `?${query.join("&")}`;
  const body = operation.requestBody?.content ?? {};
  const json = body["application/json"]?.schema;
  if (body["multipart/form-data"]) args.push("-F file=@call.m4a");
  else if (json) {
    const at = resolve(json);
    const sample = Object.fromEntries((at.required ?? []).map((key) =>
      [key, at.properties?.[key]?.examples?.[0] ?? (key === "url" ? "https://example.org/hook" : "…")]));
    args.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(sample)}'`);
  }
  const verb = method === "get" || (method === "post" && args.some((arg) => /^-[Fd]/.test(arg))) ? "" : `-X ${method.toUpperCase()} `;
  return `curl ${verb}${args.map((arg) => `${arg} `).join("")}'${location.origin}${target}'`;
}

function copyable(text) {
  const button = el("button", "Copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it"; // no clipboard: not a secure address
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return el("div.example", el("pre", text), button);
}

/* The form. Its fields are the parameters; the answer is shown as it came, JSON set out in lines. */
function field(parameter) {
  const schema = resolve(parameter.schema);
  const input = document.createElement(schema.enum ? "select" : "input");
  if (schema.enum) for (const value of ["", ...schema.enum]) input.append(new Option(value, value));
  else input.placeholder = schema.default ?? (parameter.required ? "needed" : "");
  input.required = parameter.in === "path" || !!parameter.required;
  input.name = parameter.name;
  return { input, parameter, label: el("label", el("code", parameter.name), input) };
}

const SHOWN = 200000; // characters of an answer

async function answer(url, headers, out) {
  out.replaceChildren(el("p.text", "Asking…"));
  const started = performance.now();
  try {
    const reply = await fetch(url, { headers });
    const type = reply.headers.get("content-type") ?? "";
    const head = `${reply.status} ${reply.statusText} · ${Math.round(performance.now() - started)} ms · ${type}`;
    let text;
    if (/json|text\//.test(type)) {
      text = await reply.text();
      if (/json/.test(type)) try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it is */ }
    } else {
      text = `${(await reply.arrayBuffer()).byteLength} bytes`;
    }
    if (text.length > SHOWN) text = `${text.slice(0, SHOWN)}\n… ${text.length - SHOWN} characters more`;
    out.replaceChildren(el(reply.ok ? "p.text" : "p.text.bad", head), el("pre", text));
  } catch (error) {
    out.replaceChildren(el("p.text.bad", `No answer: ${error.message}`));
  }
}

function tryIt(path, operation) {
  const fields = (operation.parameters ?? []).map(field);
  const out = el("div");
  const send = el("button", "Send");
  const form = el("form.try", fields.map((f) => f.label), send);
  out.setAttribute("aria-live", "polite");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    let target = path;
    const query = new URLSearchParams(), headers = {};
    for (const { input, parameter } of fields) {
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value === "") continue;
      else if (parameter.in === "query") query.set(parameter.name, input.value);
      else headers[parameter.name] = input.value;
    }
    answer(String(query) ? `${target}?${query}` : target, headers, out);
  });
  return [el("h3", "Try it"), form, out];
}

function parameterRows(operation) {
  if (!operation.parameters?.length) return [];
  return [el("h3", "Parameters"), el("table", el("tbody", operation.parameters.map((p) => el("tr",
    el("td", el("code", p.name), el("div.kind", p.in, p.required ? el("span.must", " needed") : null)),
    el("td", el("span.kind", kind(p.schema)), el("p.text", words([p.description, limits(p.schema)].filter(Boolean).join(" "))))))))];
}

function details(path, method, operation) {
  const responses = Object.entries(operation.responses);
  const upgrade = operation.responses["101"];
  return [
    operation.description ? el("p", words(operation.description)) : null,
    ...parameterRows(operation),
    operation.requestBody ? [el("h3", "Body"), contents(operation.requestBody.content)] : null,
    ...responses.map(([status, reply]) => [
      el("h3", el("span.status", status === "default" ? "otherwise" : status), " ", el("span.kind", words(reply.description))),
      status >= 400 ? null : contents(reply.content)]), // every error is a Problem, as "otherwise" shows
    upgrade ? null : [el("h3", "Example"), copyable(example(path, method, operation))],
    method === "get" && !upgrade ? tryIt(path, operation) : null,
  ].flat();
}

function route(path, method, operation) {
  const body = el("div.body");
  const box = el("details.route",
    el("summary", el(`span.method.${method}`, method.toUpperCase()), el("span.path.mono", path), el("span.what", operation.summary ?? "")), body);
  box.id = operation.operationId;
  box.addEventListener("toggle", () => {
    if (box.open && !body.childElementCount) body.append(...details(path, method, operation).flat().filter(Boolean));
  });
  return box;
}

function schemas() {
  return [el("h2", "Schemas"), ...Object.entries(doc.components.schemas).map(([name, schema]) => {
    const box = el("details.schema", el("summary", el("span.mono", name), el("span.kind", words(schema.description))));
    const inner = el("div.body");
    box.id = `schema-${name}`;
    box.append(inner);
    box.addEventListener("toggle", () => {
      if (!box.open || inner.childElementCount) return;
      const open = openable(schema);
      inner.append(el("p.kind", kind(schema)), limits(schema) ? el("p.text", words(limits(schema))) : "", ...open.map(tree));
    });
    return box;
  })];
}

function index(groups) {
  return groups.map(([tag, list]) => el("section", el("h2", tag), el("ul", list.map(({ path, method, operation }) => {
    const link = el("a", el(`span.method.${method}`, method.toUpperCase()), el("span", path));
    link.href = `#${operation.operationId}`;
    link.title = operation.summary ?? "";
    return el("li", link);
  }))));
}

/* Opens what the address names: on load, and when a link of the list is followed. */
function openNamed() {
  const box = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (box instanceof HTMLDetailsElement) {
    box.open = true;
    box.scrollIntoView();
  }
}

function filter(text) {
  const want = text.trim().toLowerCase();
  for (const link of $("index").querySelectorAll("a")) {
    const hidden = !`${link.textContent} ${link.title}`.toLowerCase().includes(want);
    link.parentElement.hidden = hidden;
    const box = document.getElementById(link.hash.slice(1));
    if (box) box.hidden = hidden;
  }
  for (const section of document.querySelectorAll("#index section, #routes section"))
    section.hidden = [...section.querySelectorAll("li, details.route")].every((node) => node.hidden);
}

function draw() {
  const groups = new Map((doc.tags ?? []).map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(doc.paths))
    for (const method of methods)
      if (item[method]) {
        const tag = item[method].tags?.[0] ?? "Other";
        if (!groups.has(tag)) groups.set(tag, []);
        groups.get(tag).push({ path, method, operation: item[method] });
      }
  const list = [...groups];
  $("version").textContent = doc.info.version;
  $("index").replaceChildren(...index(list));
  $("routes").replaceChildren(
    ...list.map(([tag, routes]) => el("section", el("h2", tag), routes.map((r) => route(r.path, r.method, r.operation)))),
    el("div", schemas()));
  openNamed();
}

$("filter").addEventListener("input", (event) => filter(event.target.value));
window.addEventListener("hashchange", openNamed);
fetch("/openapi.json").then((reply) => {
  if (!reply.ok) throw new Error(`${reply.status} ${reply.statusText}`);
  return reply.json();
}).then((json) => {
  doc = json;
  draw();
}).catch((error) => {
  $("routes").replaceChildren(el("p.bad", `openapi.json could not be read: ${error.message}`));
});
