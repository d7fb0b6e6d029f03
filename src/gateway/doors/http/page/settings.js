// Settings forms: a row for every key that the gateway names, by its kind. A new key appears by
// itself in the view of its section.

const SECTIONS = {
  pools: ['pool', 'upstream'],
  miners: ['miners', 'admit', 'identity', 'verdict'],
  difficulty: ['difficulty'],
  access: [],
};

// The view of a section; a section without its own view belongs to the network's.
function viewOf(section) {
  const found = Object.entries(SECTIONS).find(([, sections]) => sections.includes(section));
  return found ? found[0] : 'network';
}

const section = (field) => field.key.split('.')[0];
const ofPool = (field) => field.key.startsWith('pool.N.');

const APPLIES = {
  live: '', provisional: 'Waits to be confirmed.', restart: 'Takes effect at the next start.',
  file: 'Set only in the file, the environment or by a flag.',
};

// The values after the edits, in the order of the edits: removing pool 2 makes pool 3 the second.
function edited() {
  const values = new Map([...known.values].map(([key, value]) => [key, value.value]));
  for (const edit of known.edits) {
    const removed = edit.value === null && /^pool\.(\d+)$/.exec(edit.key);
    if (removed) removePool(values, Number(removed[1]));
    else values.set(edit.key, edit.value);
  }
  return values;
}

function poolOf(key) {
  const found = /^pool\.(\d+)\.(.+)$/.exec(key);
  return found ? { number: Number(found[1]), name: found[2] } : null;
}

function removePool(values, number) {
  for (const [key, value] of [...values]) {
    const pool = poolOf(key);
    if (!pool || pool.number < number) continue;
    values.delete(key);
    if (pool.number > number) values.set(`pool.${pool.number - 1}.${pool.name}`, value);
  }
}

function poolCount(values) {
  return Math.max(0, ...[...values.keys()].map((key) => (poolOf(key) || { number: 0 }).number));
}

// Stores an edit. An edit back to the value in use is dropped, unless a removal has moved the
// numbers.
function edit(key, value) {
  const last = known.edits.findLastIndex((one) => one.value === null);
  const before = known.edits.find((one, index) => index > last && one.key === key);
  known.edits = known.edits.filter((one) => one !== before);
  const now = known.values.get(key);
  // The previous value is stored, so that a change by another user is noticed. A removal moves the
  // pool numbers, so edits after it are not compared.
  const was = before ? before.was : last < 0 ? inUse(key) : undefined;
  if (last >= 0 || !now || now.value !== value) known.edits.push({ key, value, was });
  keepEdits();
  check();
}

function dropEdits() {
  known.edits = [];
  known.problems = [];
  keepEdits();
  showChanges([]);
}

// The value in use; for a whole pool, its address.
function inUse(key) {
  const value = known.values.get(key) || known.values.get(`${key}.url`);
  return value ? value.value : '';
}

// The edits whose values another user has changed meanwhile.
const overtaken = () => known.edits.filter((one) => one.was !== undefined && one.was !== inUse(one.key));

// Edits survive a reload of the page; passwords do not.
function keepEdits() {
  const secret = new Set(known.fields.filter((field) => field.secret).map((field) => field.key));
  const plain = known.edits.filter((one) => !secret.has(one.key.replace(/^pool\.\d+\./, 'pool.N.')));
  try {
    sessionStorage.setItem('edits', JSON.stringify(plain));
  } catch { /* a browser that keeps nothing loses them with the page */ }
}

function recallEdits() {
  try {
    known.edits = JSON.parse(sessionStorage.getItem('edits')) || [];
  } catch {
    known.edits = [];
  }
}

// The edits in the API's form.
const edits = () => known.edits.map(({ key, value }) => ({ key, value }));

let checking = 0;

// Asks the gateway for the changes and problems of a commit.
async function check() {
  const mine = (checking += 1);
  if (!known.edits.length) return showChanges([]);
  let answer;
  try {
    answer = await ask('POST', 'check', { edits: edits() }, true);
  } catch (error) {
    // No log-in dialog interrupts typing; the commit button asks for the password.
    const isOver = error.status === 401, isAway = error.status === 0;
    answer = isOver || isAway ? { changes: [], problems: [], isOver, isAway } : { changes: [], problems: error.problems.length ? error.problems : [{ key: '', text: error.message }] };
  }
  // A later edit asks again; only the last answer counts.
  if (mine !== checking) return;
  known.problems = answer.problems;
  known.isUnchecked = !!answer.isAway;
  showChanges(answer.changes, answer.isOver, answer.isAway);
}

function showChanges(changes, isOver, isAway) {
  const place = $('changes');
  place.hidden = !known.edits.length;
  // What other forms say of their own fields stays.
  for (const bad of document.querySelectorAll('.setting [role=alert]')) complain(bad.id.slice(0, -4), '');
  const others = known.problems.filter((problem) => !complain(problem.key, problem.text));
  if (place.hidden) return place.replaceChildren();
  const rows = isOver || isAway ? known.edits.map(({ key, value }) => h('li', {}, h('code', {}, key), ' → ', value === null ? 'removed' : value))
    : changes.map((change) => h('li', {}, h('code', {}, change.key), ': ',
    h('del', {}, change.from || 'nothing'), ' → ', h('ins', {}, change.to || 'nothing'), ' ',
    h('small', {}, APPLIES[change.applies])));
  const late = overtaken();
  for (const one of late) one.seen = inUse(one.key);
  const commit = h('button', { class: 'main', type: 'button', id: 'commit', onclick: () => busy(commit, commitEdits) },
    isOver ? 'Log in and commit' : late.length ? 'Commit all the same' : 'Commit');
  place.replaceChildren(h('h2', {}, `Changes (${known.edits.length})`), h('ul', { id: 'diff' }, rows),
    isOver ? h('p', { class: 'care', role: 'alert' }, 'Your session has ended. Nothing that you typed is lost.') : '',
    isAway ? h('p', { class: 'care', role: 'alert' }, word('unreachable')) : '',
    known.problems.length ? h('p', { class: 'bad' }, `Problems to fix first: ${known.problems.length}.`) : '',
    late.length ? h('div', { class: 'care', id: 'late', role: 'alert' }, h('p', {}, 'Another user has changed this since your edit:'),
      h('ul', {}, late.map((one) => h('li', {}, h('code', {}, one.key), ` is ${one.seen || 'nothing'} by now, was ${one.was || 'nothing'}`))))
      : '',
    h('ul', { class: 'bad' }, others.map((problem) => h('li', {}, problem.text))),
    h('p', { id: 'commit-failure', class: 'bad', role: 'alert' }),
    h('div', { class: 'buttons' }, commit,
      h('button', { type: 'button', id: 'discard', onclick: () => { dropEdits(); show(); } }, 'Discard')));
  commit.disabled = known.problems.length > 0;
}

async function commitEdits() {
  try {
    await learnSettings();
    // Values changed by others meanwhile are shown before the commit.
    if (overtaken().some((one) => one.seen !== inUse(one.key))) return check();
    const done = await ask('POST', 'commit', { edits: edits() });
    dropEdits();
    await showCommitted(done.seconds_left, withNotes(done, done.seconds_left ? 'In use, until it is kept or taken back.' : 'In use.'));
  } catch (error) {
    // Another user's commit waits; its bar is shown.
    if (error.status === 409) await learnSession();
    if (!error.problems.length) return fail(error, $('commit-failure'));
    known.problems = error.problems;
    check();
  }
}

// The gateway's notes on a commit, such as why it is not stored.
const withNotes = (done, text) => [text, ...done.notes].join(' ');

// Tells the result of a commit, shows the values in use, and offers to keep it. Typing is not
// interrupted.
async function showCommitted(seconds, text) {
  waitFor(seconds);
  say(text, seconds);
  await refresh(redraw);
  if (seconds && document.activeElement === document.body) $('keep').focus();
}

// The row of a key.
function fieldRow(key, field, values) {
  const set = known.values.get(key);
  const origin = set ? set.origin : 'default';
  const value = values.has(key) ? values.get(key) : field.default || '';
  const overruled = /^(environment|flag)/.test(origin);
  const locked = field.applies === 'file' || overruled || !may(field.role);
  const notes = [`Allowed: ${field.allowed}.`, field.unit ? `In ${field.unit}.` : '', APPLIES[field.applies],
    overruled ? `Set by ${origin}, which wins.` : origin && origin !== 'default' ? `From: ${origin}.` : ''];
  const row = labelled(key, label(field), control(key, field, value, locked), field.effect,
    [h('br'), h('small', {}, notes.filter(Boolean).join(' '))]);
  row.classList.add('setting');
  row.classList.toggle('changed', known.edits.some((one) => one.key === key));
  return row;
}

// Turns `difficulty.seconds_per_share` into `Seconds per share`.
function label(field) {
  const name = field.key.split('.').pop().replaceAll('_', ' ').replace(/ secs$/, '');
  return capital(name).replace(/^(Url|Ca)\b/, (word) => word.toUpperCase());
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

// The control for a kind; an unknown kind is a text field.
function control(key, field, value, locked) {
  const changed = (event) => {
    const input = event.target;
    edit(key, input.type === 'checkbox' ? String(input.checked) : input.value.trim());
    input.closest('.field').classList.toggle('changed', known.edits.some((one) => one.key === key));
  };
  if (field.kind === 'switch') {
    return h('input', { type: 'checkbox', checked: value === 'true', disabled: locked, onchange: changed });
  }
  if (field.kind === 'one_of') {
    return h('select', { disabled: locked, onchange: changed }, (field.words || []).map((one) =>
      h('option', { value: one, selected: one === value }, one)));
  }
  const number = { integer: 'numeric', number: 'decimal' }[field.kind];
  const input = h('input', { inputmode: number || (field.kind === 'url' ? 'url' : null), disabled: locked,
    autocapitalize: 'none', spellcheck: 'false', onchange: changed,
    type: field.secret ? 'password' : 'text', autocomplete: field.secret ? 'new-password' : 'off' });
  // The gateway never sends a secret, only whether it is set.
  const isEdited = known.edits.some((one) => one.key === key);
  if (field.secret && !isEdited) input.placeholder = known.values.has(key) ? value : '';
  else input.value = value;
  return input;
}

// The rows of a view's sections, except pools, which have their own cards.
function sectionForms(view) {
  const values = edited();
  const fields = known.fields.filter((field) => !ofPool(field) && viewOf(section(field)) === view);
  const names = [...new Set(fields.map(section))];
  return names.map((name) => h('fieldset', {}, h('legend', {}, capital(name)),
    h('div', { class: 'grid' }, fields.filter((field) => section(field) === name)
      .map((field) => fieldRow(field.key, field, values)))));
}
