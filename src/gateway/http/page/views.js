// The ordinary page: a view for each thing that an operator comes for.

const VIEWS = {
  overview: ['Overview', 'viewer', overview],
  pools: ['Pools', 'viewer', pools],
  miners: ['Miners', 'viewer', miners],
  difficulty: ['Difficulty', 'viewer', () => sectionForms('difficulty')],
  network: ['Network', 'viewer', () => sectionForms('network')],
  access: ['Access', 'viewer', access],
  backup: ['Backup', 'admin', backup],
  audit: ['Audit', 'viewer', audit],
};

function currentView() {
  const name = location.hash.slice(1);
  return VIEWS[name] && may(VIEWS[name][1]) ? name : 'overview';
}

// Draws the open view anew.
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

// Asks everything again and draws what there is to draw: log-in, wizard or page.
async function refresh() {
  try {
    await learnSession();
    if (known.session.role) await learnSettings();
  } catch (error) {
    $('main').replaceChildren(h('p', { class: 'bad', role: 'alert' }, error.message),
      h('button', { type: 'button', onclick: refresh }, 'Try again'));
    return;
  }
  const bare = !known.session.role || !known.values.has('pool.1.url');
  const setUp = known.session.first_run || (bare && may('admin')) || document.body.classList.contains('setup');
  $('sections').hidden = $('leave').hidden = setUp || !known.session.role;
  if (setUp) return startWizard();
  if (known.session.role) return show();
  $('changes').hidden = true;
  logIn();
}

function logIn() {
  const role = h('select', {}, ['admin', 'operator', 'viewer'].map((one) => h('option', {}, one)));
  const password = h('input', { type: 'password', autocomplete: 'current-password' });
  const button = h('button', { class: 'main', type: 'submit' }, 'Log in');
  const form = h('form', { class: 'wizard card' }, h('h2', {}, 'Log in'),
    labelled('role', 'Role', role), labelled('password', 'Password', password),
    h('p', { id: 'failure', class: 'bad', role: 'alert' }), button);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    $('failure').textContent = '';
    busy(button, async () => {
      await ask('POST', 'session', { role: role.value, password: password.value });
      await refresh();
    });
  });
  $('main').replaceChildren(form);
  password.focus();
}

function overview() {
  return [h('div', { id: 'figures' }), h('div', { id: 'pool-table' }), h('div', { id: 'books' })];
}

const percent = (part) => `${(100 * part).toFixed(1)} %`;
const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
const named = (counts) => Object.entries(counts).filter(([, count]) => count)
  .map(([name, count]) => `${name} ${count}`).join(', ');

function uptime(seconds) {
  const days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24;
  return days ? `${days} d ${hours} h` : `${hours} h ${Math.floor(seconds / 60) % 60} min`;
}

// Puts the newest status into whatever of it the open view shows.
function showStatus() {
  const status = known.status;
  if (!status) return;
  $('state').textContent = `${status.ready ? 'Ready' : 'Not ready'}, version ${status.version}`;
  wizardStatus(status);
  if ($('figures')) {
    const books = status.ledger;
    $('figures').replaceChildren(
      ...status.warnings.map((warning) => h('p', { class: 'care' }, warning)),
      figures([['Miners', `${status.miners.connected} of ${status.miners.max}`], ['Up', uptime(status.uptime_secs)],
        ['Shares accepted', String(books.accepted)], ['Rejected', String(sum(books.rejected))],
        ['Pool accepted', String(books.pool_accepted)], ['Pool rejected', String(sum(books.pool_rejected))],
        ['Orphaned', String(sum(books.orphaned))], ['Blocks found', String(status.block_candidates)]]));
    const why = [['Rejected', books.rejected], ['Pool rejected', books.pool_rejected], ['Orphaned', books.orphaned],
      ['Miners refused', status.miners.refused], ['Links lost', status.links_lost], ['Firmware', status.miners.firmware]];
    $('books').replaceChildren(table('By reason', ['What', 'Why'],
      why.filter(([, counts]) => sum(counts)).map(([name, counts]) => [name, named(counts)])));
  }
  if ($('pool-table')) {
    $('pool-table').replaceChildren(
      table('Pools', ['', 'Pool', 'State', 'Health', 'Answer', 'Address'], status.upstream.map((link) => [
        link.active ? '★' : '', String(link.pool), link.error ? `${link.state}: ${link.error}` : link.state,
        link.health === null ? '–' : `${link.health} %`,
        link.answer_ms === null ? '–' : `${link.answer_ms.toFixed(1)} ms`, link.url])),
      table('Goals', ['Goal', 'Weight', 'Got', 'Miners'], status.goals.map((goal) => [
        goal.name || '(unnamed)', String(goal.weight), percent(goal.part), String(goal.miners)])));
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
      const tried = await ask('POST', 'test', { pool: `pool.${number}`, edits: known.edits });
      result.replaceChildren(...outcome(tried).filter(Boolean));
    } catch (error) {
      result.replaceChildren(h('p', { class: 'bad' }, error.message));
    }
  }) }, 'Test');
  const remove = h('button', { type: 'button', id: `remove-${number}`, onclick: () => {
    known.edits.push({ key: `pool.${number}`, value: null });
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
      place.replaceChildren(table('Miners', ['Place', 'Address', 'Worker', 'Firmware', 'Rate', 'Difficulty', 'Good', 'Bad'],
        list.map((miner) => [String(miner.place), miner.peer, miner.worker || '–', miner.agent || '–', rate(miner.hashrate),
          String(miner.difficulty), String(miner.accepted), String(miner.rejected)]), 'no miner is connected'));
      back.disabled = skipped === 0;
      on.disabled = list.length < MINERS_SHOWN;
    } catch (error) {
      place.replaceChildren(h('p', { class: 'bad' }, error.message));
    }
  };
  load();
  return [place, h('div', { class: 'buttons' }, back, on,
    h('button', { type: 'button', onclick: load }, 'Show anew')), ...sectionForms('miners')];
}

function access() {
  if (!may('admin')) return [h('p', {}, `You are logged in as ${known.session.role}.`)];
  const role = h('select', {}, ['admin', 'operator', 'viewer'].map((one) => h('option', {}, one)));
  const password = h('input', { type: 'password', autocomplete: 'new-password', maxlength: '128' });
  const button = h('button', { class: 'main', type: 'submit' }, 'Set the password');
  const form = h('form', { class: 'card', novalidate: true }, h('h3', {}, 'Passwords'), labelled('role', 'Role', role),
    labelled('password', word('password'), password, 'At least 8 characters. Empty takes it away from an operator or a viewer.'),
    h('p', { class: 'bad', role: 'alert' }), button);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    busy(button, async () => {
      await ask('POST', 'password', { role: role.value, word: password.value });
      password.value = '';
      form.querySelector(':scope > [role=alert]').textContent = '';
      say(`The password of ${role.value} is set.`);
      await refresh();
    });
  });
  return [h('p', {}, `You are logged in as ${known.session.role}, `,
    known.session.secure ? 'over TLS.' : 'without TLS: anybody on the path can read along.'), form, certificate()];
}

function backup() {
  const file = h('input', { type: 'file' });
  const button = h('button', { type: 'submit' }, 'Restore');
  const form = h('form', { class: 'card', novalidate: true }, h('h3', {}, 'Restore'),
    labelled('file', 'A backup of this or another gateway', file, 'Is taken back unless it is confirmed.'),
    h('p', { class: 'bad', role: 'alert' }), button);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!file.files.length) return complain('file', word('needed'));
    busy(button, async () => {
      const done = await ask('POST', 'restore', file.files[0]);
      waitFor(done.seconds_left);
      await refresh();
    });
  });
  const sure = h('input', { autocapitalize: 'none', autocomplete: 'off' });
  const reset = h('button', { type: 'submit' }, 'Forget everything');
  const forget = h('form', { class: 'card', novalidate: true }, h('h3', {}, 'Factory reset'),
    labelled('sure', 'Type reset', sure, 'Forgets all settings, passwords and the audit log.'),
    h('p', { class: 'bad', role: 'alert' }), reset);
  forget.addEventListener('submit', (event) => {
    event.preventDefault();
    busy(reset, async () => {
      await ask('POST', 'reset', { sure: sure.value });
      dropEdits();
      await refresh();
    });
  });
  return [h('section', { class: 'card' }, h('h3', {}, 'Backup'),
    h('p', {}, 'All settings, without passwords. ', h('a', { href: '/api/v1/backup', download: 'loka-backup' }, 'Save a backup'))),
  form, forget];
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

function certificate() {
  const now = h('p', {}, word('wait'));
  const text = h('textarea', { rows: '8', class: 'wide', spellcheck: 'false', autocomplete: 'off' });
  const take = h('button', { type: 'submit', id: 'take-certificate' }, 'Use this certificate');
  const drop = h('button', { type: 'button', id: 'drop-certificate', hidden: true }, 'Back to the self-signed one');
  const form = h('form', { class: 'card', id: 'certificate-form', novalidate: true },
    h('h3', {}, 'Certificate of this page'), now,
    labelled('certificate', 'Chain and private key, as PEM', text, 'The key is kept on the gateway and never shown.'),
    h('p', { class: 'bad', role: 'alert' }), h('div', { class: 'buttons' }, take, drop));
  const load = async () => {
    const { fingerprint, is_own: own } = await ask('GET', 'certificate');
    now.replaceChildren(fingerprint ? 'SHA-256 of the one in use: ' : 'None yet: web.address is off.',
      h('code', {}, fingerprint || ''));
    drop.hidden = own;
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    busy(take, async () => {
      await ask('PUT', 'certificate', { pem: text.value });
      text.value = '';
      say('The certificate is in use for new connections.');
      await load();
    });
  });
  drop.addEventListener('click', () => busy(drop, async () => {
    await ask('DELETE', 'certificate');
    await load();
  }));
  load().catch((error) => { now.textContent = error.message; });
  return form;
}

// Status comes every few seconds while the page is seen, one question after the other.
const STATUS_EVERY_MS = 2500;

async function watch() {
  if (!document.hidden) {
    try {
      known.status = await ask('GET', 'status');
      showStatus();
      // Somebody else may have answered for the commit that waits.
      if (waiting.until) await followCommit();
    } catch (error) {
      // Over TLS the status is for those who are logged in.
      $('state').textContent = error.status === 401 ? '' : error.message;
    }
  }
  setTimeout(watch, STATUS_EVERY_MS);
}

function speak(language) {
  known.language = WORDS[language] ? language : 'en';
  document.documentElement.lang = known.language;
  $('language').value = known.language;
  $('keep').textContent = word('keep');
}

function begin() {
  const chosen = localStorage.getItem('language') || navigator.language.slice(0, 2);
  $('language').append(...Object.entries(WORDS).map(([key, words]) => h('option', { value: key }, words.language)));
  speak(chosen);
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
    $('main').focus();
  });
  recallEdits();
  refresh().then(watch);
}

// The frame is painted before anything is done here: on a slow machine it is there first.
requestAnimationFrame(() => setTimeout(begin));
