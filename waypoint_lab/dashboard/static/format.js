// Numbers, colours and elements as all parts of the page show them.
const ROLES = ["baseline", "canary", "premium"];
const OTHERS = 4;

export const percent = (share, digits = 1) => (share == null ? "–" : `${(100 * share).toFixed(digits)} %`);
export const number = (value) => (value == null ? "–" : String(Math.round(value * 100) / 100));

// The same colour everywhere: that of the role, or the next one of the row.
export function colorOf(service, backend) {
  if (ROLES.includes(backend.role)) return backend.role;
  const others = service.backends.filter((one) => !ROLES.includes(one.role));
  return `other-${others.indexOf(backend) % OTHERS}`;
}

// NAMESPACE/NAME:PORT of a Service or a backend.
export const place = (one) => `${one.namespace}/${one.name}:${one.port}`;

export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}
