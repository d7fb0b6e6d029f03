// The base of all views: elements, API requests, known state, the provisional commit. Foreign texts
// (pools, miners, certificates) enter as text nodes only.

const $ = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';

// Creates an element: `on…` adds a handler, `true` adds an attribute without a value.
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function icon(path) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const shape = document.createElementNS(SVG, 'path');
  shape.setAttribute('d', path);
  svg.append(shape);
  return svg;
}

// The state of the page. `edits` are not in use yet and exist only here.
const known = {
  session: { role: null, csrf: null, first_run: false, seconds_left: null },
  fields: [], values: new Map(), status: null, edits: [], problems: [], language: 'en',
};

function word(key) {
  return WORDS[known.language][key] || WORDS.en[key] || key;
}

// Shows a text for some seconds and announces it to screen readers. `quietly` only announces it.
let saying = null;

function say(text, quietly) {
  const said = $('said');
  said.textContent = text;
  said.classList.toggle('quiet', !!quietly);
  clearTimeout(saying);
  saying = setTimeout(() => said.classList.add('quiet'), 8000);
}

const RANK = { viewer: 1, operator: 2, admin: 3 };
const may = (role) => (RANK[known.session.role] || 0) >= RANK[role];

// Sends a request; a refusal becomes an error with the gateway's sentence. If the session has
// ended, the user logs in over the page and the request is repeated, unless it is sent `quietly`.
// If another window of this browser has logged in anew, the request goes on with that session.
async function ask(method, path, body, quietly) {
  const { role, csrf } = known.session;
  try {
    return await send(method, path, body);
  } catch (error) {
    const isOver = error.status === 401, isForeign = error.status === 403 && method !== 'GET';
    if (!role || path === 'session' || !(isOver || isForeign)) throw error;
    const session = await send('GET', 'session');
    if (session.role && session.csrf !== csrf) becomes(session);
    else if (isOver && !quietly) await logInAgain(error);
    else throw error;
    return send(method, path, body);
  }
}

// Takes over the session that another window of this browser opened. If its role differs, the page
// says so and is redrawn, and the request is not carried out under the new role.
function becomes(session) {
  const isOther = session.role !== known.session.role;
  known.session = session;
  if (!isOther || !session.role) return;
  const text = word('other').replace('{}', session.role);
  say(text);
  setTimeout(() => refresh());
  throw Object.assign(new Error(text), { status: 409, problems: [] });
}

async function send(method, path, body) {
  const headers = {};
  const raw = body instanceof Blob;
  if (method !== 'GET') {
    headers['x-loka-csrf'] = known.session.csrf || '';
    headers['content-type'] = raw ? 'application/octet-stream' : 'application/json';
  }
  let answer, got;
  try {
    const sent = method === 'GET' ? undefined : raw ? body : JSON.stringify(body || {});
    answer = await fetch('/api/v1/' + path, { method, headers, body: sent, cache: 'no-store' });
    got = await answer.blob();
  } catch {
    throw Object.assign(new Error(word('unreachable')), { status: 0, problems: [] });
  }
  const mark = answer.headers.get('x-loka-session');
  if (mark && path !== 'session' && known.session.csrf && !known.session.csrf.startsWith(mark)) {
    becomes(await send('GET', 'session'));
  }
  if (answer.ok && got.type === 'application/octet-stream') return got;
  const text = await got.text();
  let value = {};
  try {
    value = JSON.parse(text);
  } catch {
    if (answer.ok) throw Object.assign(new Error(text), { status: answer.status, problems: [] });
  }
  if (answer.ok) return value;
  const error = new Error(told(value.error) || `${answer.status} ${answer.statusText}`);
  const problems = (value.problems || []).map(({ key, text }) => ({ key, text: told(text) }));
  throw Object.assign(error, { status: answer.status, problems,
    wait: Number(answer.headers.get('retry-after')) || 0 });
}

async function learnSession() {
  known.session = await ask('GET', 'session');
  waitFor(known.session.seconds_left);
  return known.session;
}

// Fetches the known keys and their values.
async function learnSettings() {
  if (!known.fields.length) known.fields = await ask('GET', 'fields');
  const settings = await ask('GET', 'settings');
  known.values = new Map(settings.values.map((value) => [value.key, value]));
  waitFor(settings.seconds_left);
}

// The provisional commit: a bar with the time left, shown in every view.
const waiting = { until: 0, timer: null, ended: null };

function waitFor(seconds) {
  const left = seconds === undefined || seconds === null ? 0 : seconds;
  waiting.until = left ? Date.now() + left * 1000 : 0;
  if (left && !waiting.timer) {
    waiting.timer = setInterval(countDown, 500);
    say(told(`${left} s to keep the changes.`), true);
  }
  countDown();
}

function countDown() {
  const left = Math.ceil((waiting.until - Date.now()) / 1000);
  const waits = waiting.until > 0 && left > 0;
  $('waiting').hidden = !waits || !may('operator') || document.body.classList.contains('setup');
  if (waits) {
    if ($('left').textContent !== String(left)) {
      $('left').textContent = left;
      $('time').value = left;
      if (left === 30 || left === 10) say(told(`${left} s to keep the changes.`), true);
    }
  } else if (waiting.timer) {
    clearInterval(waiting.timer);
    waiting.timer = null;
    // The time is over by this clock, but the gateway's clock decides.
    if (waiting.until) followCommit().catch(fail);
    waiting.until = 0;
  }
  if (waiting.tick) waiting.tick(waits ? left : 0);
}

// Ends the waiting: kept, or taken back.
function ended(kept, notes = []) {
  waitFor(null);
  const text = notes.map(told).join(' ') || (kept ? word('kept') : word('gone'));
  say(text, waiting.ended);
  if (waiting.ended) waiting.ended(kept, text);
  else learnSettings().then(redraw, fail);
}

// Asks whether the commit still waits. If not, the values in use show whether it was kept.
async function followCommit() {
  const inUse = () => JSON.stringify([...known.values].map(([key, { value }]) => [key, value]));
  const before = inUse();
  const session = await ask('GET', 'session');
  if (session.seconds_left) return waitFor(session.seconds_left);
  await learnSettings();
  ended(inUse() === before);
}

async function answerCommit(path) {
  try {
    const done = await ask('POST', path);
    ended(path === 'confirm', done.notes);
  } catch (error) {
    if (error.status === 409) return followCommit();
    fail(error);
  }
}

// Shows an error near the user's focus, and announces it.
function fail(error, place) {
  const here = place || $('failure');
  if (here) here.textContent = error.message;
  else say(error.message);
}

// Moves the focus to an element; in a text field, to its end.
function focusOn(element) {
  element.focus();
  if (element.type === 'text') element.setSelectionRange(element.value.length, element.value.length);
}

// Disables a button while its work runs.
async function busy(button, work) {
  if (button.disabled) return;
  button.disabled = true;
  button.classList.add('busy');
  let wait = 0;
  try {
    await work();
  } catch (error) {
    wait = error.wait;
    const around = button.closest('form, .card');
    fail(error, around && around.querySelector(':scope > [role=alert]'));
  } finally {
    const focus = document.activeElement === document.body && document.contains(button);
    button.disabled = false;
    button.classList.remove('busy');
    if (focus) button.focus();
    if (wait) holdBack(button, wait);
  }
}

// Disables a button until the gateway accepts the next try, with a countdown.
function holdBack(button, seconds) {
  const until = Date.now() + seconds * 1000, text = button.textContent;
  const count = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `${text} (${clock(left)})` : text;
    if (left <= 0 || !button.isConnected) clearInterval(timer);
  };
  const timer = setInterval(count, 500);
  count();
}

// Formats seconds as minutes and seconds: 14:59.
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;

// A labelled input with its help text and a place for its error.
function labelled(id, label, input, help, notes) {
  input.id = id;
  input.setAttribute('aria-describedby', `${id}-help ${id}-bad`);
  return h('div', { class: 'field' },
    h('label', { for: id }, label), input,
    h('p', { id: `${id}-help` }, help || '', notes || null),
    h('p', { id: `${id}-bad`, class: 'bad', role: 'alert' }));
}

function complain(id, text) {
  const input = $(id), bad = $(`${id}-bad`);
  if (!input || !bad) return false;
  bad.textContent = text || '';
  if (text) {
    input.setAttribute('aria-invalid', 'true');
    // The bar of changes covers the bottom of the window.
    if (input === document.activeElement) bad.scrollIntoView({ block: 'nearest' });
  }
  else input.removeAttribute('aria-invalid');
  return true;
}

// A foreign name, truncated so that the next columns stay visible; the tooltip has all of it.
const cut = (text) => text ? h('bdi', { class: 'cut', title: text }, text) : '–';

// Wide tables scroll by themselves.
function table(caption, heads, rows, none) {
  return h('div', { class: 'scroll', role: 'region', 'aria-label': caption, tabindex: '0' },
    h('table', {}, h('caption', {}, caption),
      h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col' }, head)))),
      h('tbody', {}, rows.length
        ? rows.map((row) => h('tr', {}, row.map((cell) => h('td', {}, cell))))
        : h('tr', {}, h('td', { colspan: heads.length }, none || 'none')))));
}

function figures(pairs) {
  return h('dl', { class: 'figures' }, pairs.map(([name, value]) =>
    h('div', {}, h('dt', {}, name), h('dd', {}, value))));
}

// Formats a number with separators: 10,000.
const grouped = (number) => number.toLocaleString('en');

// Formats a hash rate with its unit: 95.2 TH/s.
function rate(hashes) {
  const units = ['', 'k', 'M', 'G', 'T', 'P', 'E'];
  let unit = 0;
  for (; hashes >= 1000 && unit < units.length - 1; unit += 1) hashes /= 1000;
  return `${hashes.toPrecision(3)} ${units[unit]}H/s`;
}

// Shows the result of a pool test. `take` is offered where pinning the key helps: a valid chain can
// be narrowed to its key; for a chain without an authority the key is the only proof.
function showTrial(place, tried, id, take) {
  const leaf = tried.chain[0];
  const isGood = tried.steps.some((step) => step.startsWith('TLS: '));
  const isOffered = take && leaf && leaf.pin && tried.ok === isGood;
  // The remedy is a button here, so the sentence is cut at its first part.
  if (isOffered && !tried.ok && tried.problem) [tried.problem] = tried.problem.split('; ');
  place.replaceChildren(...outcome(tried).filter(Boolean));
  if (!isOffered) return;
  if (!tried.ok) place.append(h('p', {}, word('trustHelp')));
  place.append(h('p', {}, h('code', {}, leaf.pin)), h('button', { type: 'button', id, onclick: () => take(leaf.pin, !tried.ok) },
    word(tried.ok ? 'pinIt' : 'trust')));
}

// The steps of a tried pool, its certificates, and what is wrong.
function outcome(result) {
  const steps = result.steps.map((step) => h('li', {}, told(step)));
  if (!result.ok) steps.push(h('li', { class: 'bad' }, told(result.problem) || word('fails')));
  const chain = result.chain.map((one) => h('dl', {},
    [['subject', one.subject], ['issuer', one.issuer], ['until', one.until], ['pin', one.pin]].map(
      ([name, value]) => h('div', {}, h('dt', {}, word(name)), h('dd', {}, h('code', {}, value))))));
  return [
    h('p', { class: result.ok ? 'good' : 'bad' }, h('strong', {}, result.ok ? word('works') : word('fails'))),
    h('ul', { class: 'results' }, steps),
    chain.length ? h('details', {}, h('summary', {}, word('chain')), chain) : null,
  ];
}
