// A validator for the part of JSON Schema that the API's document uses: $ref, type, enum, const, properties, required,
// additionalProperties, items, allOf, anyOf, oneOf, minimum, maximum, exclusiveMinimum, exclusiveMaximum, pattern, maxLength.
// `format` and the texts say nothing to check. Stricter than the standard in one point: an object whose schema names
// properties has no others, unless additionalProperties says so. So the document cannot fall behind the answers.
const ignored = new Set(['description', 'examples', 'format', 'title', 'default', 'contentEncoding', 'contentMediaType', 'x-when-waited']);
const known = new Set(['$ref', 'type', 'enum', 'const', 'properties', 'required', 'additionalProperties', 'items', 'allOf', 'anyOf',
  'oneOf', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'pattern', 'maxLength', 'minLength', 'minItems', 'maxItems']);

const typeOf = (value) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);
const hasType = (value, type) => (type === 'integer' ? Number.isInteger(value) : typeOf(value) === type);
const show = (value) => { const text = JSON.stringify(value) ?? 'nothing'; return text.length > 80 ? `${text.slice(0, 80)}…` : text; };

export function schemas(document) {
  const follow = (ref) => {
    let at = document;
    for (const key of ref.replace(/^#\//, '').split('/')) at = at?.[key];
    if (!at) throw new Error(`nothing is called ${ref}`);
    return at;
  };

  // Every property that the schema or a part of it names.
  function names(schema) {
    const all = new Set(Object.keys(schema.properties ?? {}));
    if (schema.$ref) for (const name of names(follow(schema.$ref))) all.add(name);
    for (const part of schema.allOf ?? []) for (const name of names(part)) all.add(name);
    return all;
  }

  function object(schema, value, at, closed) {
    const wrong = [];
    for (const name of schema.required ?? []) if (!Object.hasOwn(value, name)) wrong.push(`${at}: ${name} is missing`);
    for (const [name, one] of Object.entries(value)) {
      const inner = schema.properties?.[name];
      if (inner) wrong.push(...validate(inner, one, `${at}.${name}`));
      else if (typeof schema.additionalProperties === 'object') wrong.push(...validate(schema.additionalProperties, one, `${at}.${name}`));
      else if (schema.additionalProperties === false) wrong.push(`${at}: ${name} is not in the schema`);
    }
    if (closed && schema.additionalProperties === undefined && (schema.properties || schema.allOf)) {
      const there = names(schema);
      for (const name of Object.keys(value)) if (!there.has(name)) wrong.push(`${at}: ${name} is not in the schema`);
    }
    return wrong;
  }

  function number(schema, value, at) {
    const wrong = [];
    if (value < schema.minimum || value <= schema.exclusiveMinimum) wrong.push(`${at}: ${value} is too small`);
    if (value > schema.maximum || value >= schema.exclusiveMaximum) wrong.push(`${at}: ${value} is too large`);
    return wrong;
  }

  function text(schema, value, at) {
    const wrong = [];
    if (schema.pattern && !new RegExp(schema.pattern, 'u').test(value)) wrong.push(`${at}: ${show(value)} is not ${schema.pattern}`);
    if ([...value].length > schema.maxLength || [...value].length < schema.minLength) wrong.push(`${at}: ${show(value)} has the wrong length`);
    return wrong;
  }

  // What is wrong, as texts; `closed` false: a part of an allOf, whose other parts name properties too.
  function validate(schema, value, at = '$', closed = true) {
    for (const key of Object.keys(schema))
      if (!known.has(key) && !ignored.has(key)) throw new Error(`${at}: the validator does not know ${key}`);
    const wrong = [];
    if (schema.$ref) wrong.push(...validate(follow(schema.$ref), value, at, closed));
    if (schema.type && ![schema.type].flat().some((type) => hasType(value, type))) return [...wrong, `${at}: ${show(value)} is no ${schema.type}`];
    if (schema.enum && !schema.enum.includes(value)) wrong.push(`${at}: ${show(value)} is none of ${schema.enum}`);
    if ('const' in schema && value !== schema.const) wrong.push(`${at}: ${show(value)} is not ${schema.const}`);
    for (const part of schema.allOf ?? []) wrong.push(...validate(part, value, at, false));
    for (const many of ['anyOf', 'oneOf']) {
      if (!schema[many]) continue;
      const tried = schema[many].map((part) => validate(part, value, at));
      const fit = tried.filter((problems) => problems.length === 0).length;
      if (fit === 0) wrong.push(`${at}: fits none of ${many}: ${tried.map((t) => t[0]).join('; ')}`);
      if (fit > 1 && many === 'oneOf') wrong.push(`${at}: fits ${fit} of oneOf`);
    }
    if (typeOf(value) === 'object') wrong.push(...object(schema, value, at, closed));
    if (typeOf(value) === 'array') {
      if (schema.items) value.forEach((one, i) => wrong.push(...validate(schema.items, one, `${at}[${i}]`)));
      if (value.length < schema.minItems || value.length > schema.maxItems) wrong.push(`${at}: ${value.length} items`);
    }
    if (typeof value === 'number') wrong.push(...number(schema, value, at));
    if (typeof value === 'string') wrong.push(...text(schema, value, at));
    return wrong;
  }
  return { validate, follow };
}
