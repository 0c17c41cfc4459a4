// Shows /openapi.json. Everything is put in as text, never as markup.
"use strict";

const METHODS = ["get", "post", "patch", "delete"];

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

function prose(text) {
  // Paragraphs, and between back-ticks code.
  return text.split("\n\n").map((part) => {
    const paragraph = make("p", {});
    part.split("`").forEach((piece, index) => {
      paragraph.append(index % 2 ? make("code", {}, piece) : piece);
    });
    return paragraph;
  });
}

function resolved(whole, value) {
  if (!value || !value.$ref) return value;
  return value.$ref.slice(2).split("/").reduce((at, name) => at[name], whole);
}

function typeName(schema) {
  if (schema === undefined) return document.createTextNode("anything");
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return make("a", { href: `#schema-${name}` }, name);
  }
  const span = make("span", {});
  const choices = schema.anyOf || schema.oneOf;
  if (choices) {
    choices.forEach((each, index) => span.append(index ? " or " : "", typeName(each)));
  } else if (schema.enum) {
    span.append(schema.enum.map((each) => JSON.stringify(each)).join(", "));
  } else if (schema.type === "array") {
    span.append("array of ", schema.prefixItems ? "[…]" : typeName(schema.items || {}));
  } else if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    span.append("object of ", typeName(schema.additionalProperties));
  } else {
    span.append(schema.type || "anything");
  }
  return span;
}

function bounds(schema) {
  const all = [schema, ...(schema.anyOf || [])];
  const found = [];
  for (const each of all) {
    if (each.minimum !== undefined) found.push(`at least ${each.minimum}`);
    // The largest of 64 bits is no number of ours.
    if (each.maximum <= Number.MAX_SAFE_INTEGER) found.push(`at most ${each.maximum}`);
    if (each.maxLength !== undefined) found.push(`at most ${each.maxLength} characters`);
    if (each.maxItems !== undefined) found.push(`at most ${each.maxItems} of them`);
    if (each.description) found.push(each.description);
  }
  if (schema.default !== undefined) found.push(`Default ${JSON.stringify(schema.default)}.`);
  return found.map((each) => each.replace(/\.$/, "")).join("; ");
}

function row(name, isRequired, schema, about) {
  const first = make("td", {}, make("code", {}, name), isRequired ? " required" : null);
  const text = [about, bounds(schema)].filter(Boolean).join("; ");
  return make("tr", {}, first, make("td", {}, typeName(schema)), make("td", {}, ...prose(text)));
}

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((each) => make("th", { scope: "col" }, each)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function operation(whole, path, method, what) {
  const parts = [
    make("h3", { id: what.operationId },
      make("code", { class: "verb" }, method.toUpperCase()), make("code", {}, path)),
    ...prose(what.summary + "."),
    ...(what.description ? prose(what.description) : []),
  ];
  const parameters = what.parameters.map((each) => resolved(whole, each));
  if (parameters.length) {
    parts.push(make("h4", {}, "Parameters"), table(["name", "type", "meaning"], parameters.map(
      (each) => row(`${each.name} (${each.in})`, each.required, each.schema,
        each.schema.description ? "" : each.description || ""))));
  }
  if (what.requestBody) parts.push(...body(what.requestBody));
  parts.push(make("h4", {}, "Answers"), table(["status", "form", "meaning"],
    Object.entries(what.responses).map(([status, each]) => answer(whole, status, each))));
  return parts;
}

function body(asked) {
  const content = asked.content["application/json"];
  const parts = [make("h4", {}, "Body"), make("p", {}, typeName(content.schema))];
  for (const example of Object.values(content.examples || {})) {
    parts.push(make("pre", {}, JSON.stringify(example.value, null, 2)));
  }
  return parts;
}

function answer(whole, status, given) {
  const one = resolved(whole, given);
  const forms = make("td", {});
  Object.entries(one.content || {}).forEach(([media, each], index) => {
    if (index) forms.append(make("br", {}));
    if (each.schema && each.schema.$ref) forms.append(typeName(each.schema));
    else forms.append(media);
  });
  return make("tr", {}, make("td", {}, status), forms, make("td", {}, ...prose(one.description)));
}

function schemas(whole) {
  const parts = [make("h2", { id: "types" }, "Types")];
  for (const [name, schema] of Object.entries(whole.components.schemas).sort()) {
    const required = new Set(schema.required || []);
    parts.push(make("h3", { id: `schema-${name}` }, make("code", {}, name)),
      ...prose(schema.description || ""));
    const rows = Object.entries(schema.properties || {}).map(
      ([field, each]) => row(field, required.has(field), each, ""));
    if (rows.length) parts.push(table(["field", "type", "meaning"], rows));
  }
  return parts;
}

function show(whole) {
  const main = document.getElementById("main");
  const contents = document.getElementById("contents");
  const parts = [make("h1", {}, whole.info.title), ...prose(whole.info.description),
    make("p", { class: "soft" }, `Version ${whole.info.version}. `,
      make("a", { href: "/openapi.json" }, "OpenAPI document"))];
  for (const tag of whole.tags) {
    parts.push(make("h2", { id: `tag-${tag.name}` }, tag.name), ...prose(tag.description));
    contents.append(make("h2", {}, tag.name));
    for (const [path, methods] of Object.entries(whole.paths)) {
      for (const method of METHODS.filter((each) => methods[each])) {
        const what = methods[method];
        if (!what.tags.includes(tag.name)) continue;
        parts.push(...operation(whole, path, method, what));
        contents.append(make("a", { href: `#${what.operationId}` },
          `${method.toUpperCase()} ${path}`));
      }
    }
  }
  contents.append(make("h2", {}, "types"));
  contents.append(make("a", { href: "#types" }, "all types"));
  main.replaceChildren(...parts, ...schemas(whole));
  // What the address names is there only now.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

fetch("/openapi.json")
  .then((answer) => answer.ok ? answer.json() : Promise.reject(new Error(`HTTP ${answer.status}`)))
  .then(show)
  .catch((error) => {
    document.getElementById("status").textContent = `The document cannot be read: ${error.message}`;
  });
