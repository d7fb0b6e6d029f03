// The ordinary page: one view per task of an operator.

const VIEWS = {
  overview: ['Overview', 'viewer', overview],
  pools: ['Pools', 'viewer', pools],
  miners: ['Miners', 'viewer', miners],
  difficulty: ['Difficulty', 'viewer', () => sectionForms('difficulty')],
  network: ['Network', 'viewer', () => sectionForms('network')],
  access: ['Access', 'viewer', access],
  backup: ['Backup', 'admin', backup],
  updates: ['Updates', 'viewer', updates],
  audit: ['Log', 'viewer', audit],
};

function currentView() {
  const name = location.hash.slice(1);
  return VIEWS[name] && may(VIEWS[name][1]) ? name : 'overview';
}

// Redraws the open view.
function show() {
  const name = currentView();
  $('sections').hidden = false;
  $('leave').hidden = false;
  $('sections').replaceChildren(h('ul', {}, Object.entries(VIEWS).filter(([, view]) => may(view[1]))
    .map(([key, [title]]) => h('li', {}, h('a', { href: '#' + key, 'aria-current': key === name ? 'page' : null },
      title)))));
  const [title, , draw] = VIEWS[name];
  document.title = `${title} – Loka Stratum`;
  $('main').replaceChildren(h('h2', {}, title), h('p', { id: 'failure', class: 'bad', role: 'alert' }),
    ...[draw()].flat(Infinity).filter(Boolean));
  check();
  showStatus();
}

// Fetches session and settings again and draws log-in, wizard, or the page by `draw`.
async function refresh(draw = show) {
  try {
    await learnSession();
    if (known.session.role) await learnSettings();
  } catch (error) {
    $('main').replaceChildren(h('p', { class: 'bad', role: 'alert' }, error.message),
      h('button', { type: 'button', onclick: () => refresh() }, 'Try again'));
    return;
  }
  const bare = !known.session.role || !known.values.has('pool.1.url');
  const setUp = known.session.first_run || (bare && may('admin')) || document.body.classList.contains('setup');
  $('sections').hidden = $('leave').hidden = setUp || !known.session.role;
  // Only the wizard is translated.
  $('languages').hidden = !setUp;
  speak(setUp ? chosenLanguage() : 'en');
  if (setUp) return startWizard();
  if (known.session.role) return draw();
  $('changes').hidden = true;
  logIn();
}

function overview() {
  return [h('div', { id: 'figures' }), h('div', { id: 'pool-table' }), h('div', { id: 'books' })];
}

const percent = (part) => `${(100 * part).toFixed(1)} %`;
const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
const named = (counts) => Object.entries(counts).filter(([, count]) => count)
  .map(([name, count]) => `${name} ${count}`).join(', ');

// Formats a duration: 3 d 4 h, 4 h 5 min, or 5 min.
function span(seconds) {
  const days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24;
  const minutes = `${Math.floor(seconds / 60) % 60} min`;
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes}` : minutes;
}

// Updates the open view's parts from the newest status.
function showStatus() {
  const status = known.status;
  if (!status) return;
  const why = status.upstream.length ? 'no pool is live' : 'no pool is set';
  $('state').textContent = told(`${status.ready ? 'Ready' : `Not ready: ${why}`}, version ${status.version}`);
  $('state').className = status.ready ? 'good' : 'bad';
  wizardStatus(status);
  showUpdate(status.update);
  if ($('figures')) {
    const books = status.ledger;
    $('figures').replaceChildren(
      ...status.warnings.map((warning) => h('p', { class: 'care' }, warning)),
      figures([['Miners', grouped(status.miners.connected)], ['Room for', grouped(status.miners.max)],
        ['Shares accepted', grouped(books.accepted)], ['Rejected', grouped(sum(books.rejected))],
        ['Pool accepted', grouped(books.pool_accepted)], ['Pool rejected', grouped(sum(books.pool_rejected))],
        ['Orphaned', grouped(sum(books.orphaned))], ['Blocks found', grouped(status.block_candidates)],
        ['Up', span(status.uptime_secs)]]));
    const why = [['Rejected', books.rejected], ['Pool rejected', books.pool_rejected], ['Orphaned', books.orphaned],
      ['Miners refused', status.miners.refused], ['Links lost', status.links_lost], ['Firmware', status.miners.firmware]];
    $('books').replaceChildren(table('By reason', ['Count', 'Reasons'],
      why.filter(([, counts]) => sum(counts)).map(([name, counts]) => [name, named(counts)]),
      'nothing was refused or lost'));
  }
  if ($('pool-table')) {
    $('pool-table').replaceChildren(
      table('Links', ['Pool', 'State', 'Health', 'Answer', 'Address'], status.upstream.map((link) => [
        link.active ? [h('span', { 'aria-hidden': 'true' }, '★ '), String(link.pool), h('span', { class: 'quiet' }, ' in use')]
          : String(link.pool),
        link.error ? h('span', { class: 'bad' }, `${link.state}: ${link.error}`) : link.state,
        link.health === null ? h('span', { class: 'quiet' }, link.reached ? '–' : link.error ? 'not reached' : 'not tried')
          : `${link.health} %`,
        link.answer_ms === null ? '–' : `${link.answer_ms.toFixed(1)} ms`, link.url]), 'no pool is set'),
      table('Goals', ['Goal', 'Weight', 'Got', 'Miners', 'Last switch'], status.goals.map((goal) => [
        goal.name ? cut(goal.name) : '(unnamed)', String(goal.weight), percent(goal.part), String(goal.miners),
        goal.switched ? `pool ${goal.switched.pool}, ${span(goal.switched.secs_ago)} ago: ${goal.switched.why}` : '–'])));
  }
}

function pools() {
  const values = edited();
  const count = poolCount(values);
  const fields = known.fields.filter(ofPool);
  const cards = Array.from({ length: count }, (_, index) => poolCard(index + 1, fields, values));
  const add = h('button', { type: 'button', id: 'add', onclick: () => {
    edit(`pool.${count + 1}.url`, 'stratum+ssl://');
    show();
    focusOn($(`pool.${count + 1}.url`));
  } }, 'Add a pool');
  return [h('div', { id: 'pool-table' }), cards, h('p', {}, may('operator') ? add : null), ...sectionForms('pools')];
}

function poolCard(number, fields, values) {
  const result = h('div', { 'aria-live': 'polite' });
  const test = h('button', { type: 'button', id: `test-${number}`, onclick: () => busy(test, async () => {
    result.replaceChildren(h('p', {}, word('testing')));
    try {
      const tried = await ask('POST', 'test', { pool: `pool.${number}`, edits: edits() });
      showTrial(result, tried, `trust-${number}`, inUse(`pool.${number}.pins`) ? null : (pin, alone) => {
        edit(`pool.${number}.pins`, pin);
        if (alone) edit(`pool.${number}.trust`, 'pin');
        show();
        focusOn($(`test-${number}`));
      });
    } catch (error) {
      result.replaceChildren(h('p', { class: 'bad' }, error.message));
    }
  }) }, 'Test');
  const remove = h('button', { type: 'button', id: `remove-${number}`, onclick: () => {
    const isFirst = known.edits.every((one) => one.value !== null);
    known.edits.push({ key: `pool.${number}`, value: null, was: isFirst ? inUse(`pool.${number}`) : undefined });
    keepEdits();
    show();
    $('main').focus();
  } }, 'Remove');
  return h('fieldset', {}, h('legend', {}, `Pool ${number}`),
    h('div', { class: 'grid' }, fields.map((field) => {
      const key = field.key.replace('.N.', `.${number}.`);
      return fieldRow(key, field, values);
    })), result, may('operator') ? h('div', { class: 'buttons' }, test, remove) : null);
}

let skipped = 0;
const MINERS_SHOWN = 50;

function miners() {
  const place = h('div', {}, h('p', {}, word('wait')));
  const turn = (by) => () => {
    skipped = Math.max(0, skipped + by);
    load();
  };
  const back = h('button', { type: 'button', onclick: turn(-MINERS_SHOWN) }, 'Previous');
  const on = h('button', { type: 'button', onclick: turn(MINERS_SHOWN) }, 'More');
  const load = async () => {
    try {
      const list = (await ask('GET', `miners?skip=${skipped}`)).miners.slice(0, MINERS_SHOWN);
      place.replaceChildren(table('Connected', ['Place', 'Address', 'Worker', 'Firmware', 'Rate', 'Difficulty', 'Good', 'Bad'],
        list.map((miner) => [String(miner.place), miner.peer, cut(miner.worker), cut(miner.agent), rate(miner.hashrate),
          String(miner.difficulty), grouped(miner.accepted), grouped(miner.rejected)]),
        skipped ? 'no more miners' : 'no miner is connected'));
      back.disabled = skipped === 0;
      on.disabled = list.length < MINERS_SHOWN;
    } catch (error) {
      place.replaceChildren(h('p', { class: 'bad' }, error.message));
    }
  };
  load();
  return [place, h('div', { class: 'buttons' }, back, on,
    h('button', { type: 'button', onclick: load }, 'Refresh')), ...sectionForms('miners'), admitted()];
}

// The workers admitted by `admit.mode = list`, each with a password.
function admitted() {
  const place = h('div', {}, h('p', {}, word('wait')));
  const load = async () => {
    const list = (await ask('GET', 'admitted')).workers;
    place.replaceChildren(table('Let in', ['Worker', ''], list.map((worker) => {
      const remove = h('button', { type: 'button', 'aria-label': `Remove ${worker}`, onclick: () => busy(remove, async () => {
        await ask('POST', 'admit', { worker, word: '' });
        say(`${worker} is removed from the list.`);
        await load();
      }) }, 'Remove');
      return [cut(worker), may('operator') ? remove : ''];
    }), 'nobody yet'));
  };
  const worker = h('input', { autocapitalize: 'none', spellcheck: 'false', maxlength: '64', autocomplete: 'off' });
  const password = h('input', { type: 'password', autocomplete: 'new-password', maxlength: '128' });
  const button = h('button', { type: 'submit' }, 'Let in');
  const form = h('form', { class: 'card', id: 'admit-form', novalidate: true }, h('h3', {}, 'List of workers'),
    h('p', {}, 'Workers that admit.mode = list admits with their password.'), place,
    may('operator') ? [labelled('admit-worker', 'Worker', worker, 'A name, or a pattern such as farm.hall-2.*'),
      labelled('admit-password', 'Password', password, 'The password set in the miner. For a listed worker it replaces the old one.'),
      h('p', { class: 'bad', role: 'alert' }), button] : null);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    form.querySelector(':scope > [role=alert]').textContent = '';
    const name = worker.value.trim();
    complain('admit-worker', name ? '' : word('needed'));
    // An empty password would remove the worker; a button does that.
    complain('admit-password', password.value ? '' : word('needed'));
    if (!name || !password.value) return;
    busy(button, async () => {
      await ask('POST', 'admit', { worker: name, word: password.value });
      say(`${name} is let in.`);
      worker.value = password.value = '';
      await load();
      worker.focus();
    });
  });
  load().catch((error) => place.replaceChildren(h('p', { class: 'bad' }, error.message)));
  return form;
}

// Today's date by this device's clock: 2026-11-28.
function today() {
  const now = new Date(), two = (number) => String(number).padStart(2, '0');
  return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
}

function backup() {
  const save = h('button', { type: 'button', id: 'save', onclick: () => busy(save, async () => {
    const link = h('a', { href: URL.createObjectURL(await ask('GET', 'backup')), download: `loka-backup-${today()}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }) }, 'Save a backup');
  const file = h('input', { type: 'file' });
  const button = h('button', { type: 'submit', id: 'restore' }, 'Restore');
  const form = h('form', { class: 'card', novalidate: true }, h('h3', {}, 'Restore'),
    labelled('file', 'A backup of this or another gateway', file,
      'In use at once, and taken back unless you keep it. Set pool passwords again where an address changed.'),
    h('p', { class: 'bad', role: 'alert' }), button);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!file.files.length) return complain('file', word('needed'));
    busy(button, async () => {
      const done = await ask('POST', 'restore', file.files[0]);
      form.reset();
      await showCommitted(done.seconds_left,
        withNotes(done, done.changes.length ? `${done.changes.length} values are changed.` : 'Nothing differs: all is as in the backup.'));
    });
  });
  const sure = h('input', { autocapitalize: 'none', autocomplete: 'off' });
  const reset = h('button', { type: 'submit', id: 'reset', class: 'danger' }, 'Forget everything');
  const forget = h('form', { class: 'card', novalidate: true }, h('h3', {}, 'Factory reset'),
    labelled('sure', 'Type reset to do it', sure,
      'Forgets all settings, passwords and the audit log, at once. Miners get no work until the gateway is set up again.'),
    h('p', { class: 'bad', role: 'alert' }), reset);
  forget.addEventListener('submit', (event) => {
    event.preventDefault();
    complain('sure', '');
    if (sure.value !== 'reset') return complain('sure', 'Type the word reset to do it.');
    busy(reset, async () => {
      await ask('POST', 'reset', { sure: sure.value });
      dropEdits();
      await refresh();
    });
  });
  return [h('section', { class: 'card' }, h('h3', {}, 'Backup'),
    h('p', {}, 'All settings, without passwords.'), h('p', { class: 'bad', role: 'alert' }), save), form, forget];
}

function audit() {
  const lines = (path, title) => {
    const place = h('pre', {}, word('wait'));
    ask('GET', path).then((answer) => { place.textContent = answer.lines.join('\n') || 'none'; },
      (error) => { place.textContent = error.message; });
    return h('section', { class: 'card' }, h('h3', {}, title), place);
  };
  return [may('admin') ? lines('audit?count=100', 'Who changed what') : null, lines('log?count=100', 'Log')].filter(Boolean);
}

// Status is fetched every few seconds while the page is visible, one request after the other.
const STATUS_EVERY_MS = 2500;

let rounds = 0;

async function watch() {
  if (!document.hidden) {
    try {
      const before = known.status;
      known.status = await ask('GET', 'status', undefined, true);
      showStatus();
      document.body.classList.remove('away');
      // Edits made while the gateway was away are checked now.
      if (known.isUnchecked) check();
      rounds += 1;
      const isStored = before && before.flash.settings_writes !== known.status.flash.settings_writes;
      if (known.session.role && (isStored || waiting.until || rounds % 2 === 0)) await followOthers(isStored);
    } catch (error) {
      // The figures shown are out of date.
      document.body.classList.toggle('away', error.status === 0);
      // Over TLS the status needs a log-in.
      $('state').textContent = error.status !== 401 ? error.message : known.session.role ? 'Logged out' : '';
      $('state').className = 'bad';
    }
  }
  setTimeout(watch, STATUS_EVERY_MS);
}

// Follows other users' actions: a provisional commit, its end, new values. A view with typed text
// is not redrawn; conflicts with the edits are listed among the changes.
async function followOthers(isStored) {
  if (waiting.until) return followCommit();
  if (document.body.classList.contains('setup')) return;
  const session = await ask('GET', 'session', undefined, true);
  if (!session.role || !(session.seconds_left || isStored)) return;
  await learnSettings();
  redraw();
}

// Redraws the open view, unless it holds typed text.
function redraw() {
  const isTyped = (input) => input.form && input.value && !['select-one', 'checkbox'].includes(input.type);
  const focus = document.activeElement, main = $('main');
  const isIn = focus !== main && main.contains(focus);
  if (isIn || [...main.querySelectorAll('input, textarea')].some(isTyped)) check();
  else show();
}

function speak(language) {
  known.language = WORDS[language] ? language : 'en';
  document.documentElement.lang = known.language;
  $('language').value = known.language;
  $('keep').textContent = word('keep');
}

const chosenLanguage = () => localStorage.getItem('language') || navigator.language.slice(0, 2);

function begin() {
  $('language').append(...Object.entries(WORDS).map(([key, words]) => h('option', { value: key }, words.language)));
  speak(chosenLanguage());
  $('language').addEventListener('change', () => {
    speak($('language').value);
    localStorage.setItem('language', known.language);
    if (document.body.classList.contains('setup')) showStep();
    else refresh();
  });
  $('keep').addEventListener('click', () => busy($('keep'), () => answerCommit('confirm')));
  $('back').addEventListener('click', () => busy($('back'), () => answerCommit('rollback')));
  $('leave').addEventListener('click', () => busy($('leave'), async () => {
    await ask('DELETE', 'session');
    dropEdits();
    await refresh();
  }));
  addEventListener('hashchange', () => {
    if (!known.session.role || document.body.classList.contains('setup')) return;
    show();
    // The section list keeps its position for the next click.
    $('main').focus({ preventScroll: true });
    scrollTo(0, 0);
  });
  recallEdits();
  refresh().then(watch);
}

// The frame is painted first, so a slow machine shows it before this work.
requestAnimationFrame(() => setTimeout(begin));
