"""The report's behaviour: draws the charts, follows light and dark, sorts tables, tells about GPUs."""

JS = """
(function(){'use strict';
var charts=JSON.parse(document.getElementById('charts').textContent);
var dark=window.matchMedia('(prefers-color-scheme: dark)');
function colours(paper){
  var css=getComputedStyle(document.documentElement);
  var ink=paper?'#1f2933':css.getPropertyValue('--ink').trim();
  var line=paper?'#d7dde4':css.getPropertyValue('--line').trim();
  return {'font.color':ink,'xaxis.gridcolor':line,'yaxis.gridcolor':line,'xaxis.zerolinecolor':line,
    'yaxis.zerolinecolor':line,'xaxis.linecolor':line,'yaxis.linecolor':line,'xaxis.automargin':true,'yaxis.automargin':true};
}
function narrow(){return window.innerWidth<560;}
function place(){return {'legend.y':narrow()?-0.32:-0.24,'font.size':narrow()?11:13};}
charts.forEach(function(chart){
  var layout=Object.assign({paper_bgcolor:'rgba(0,0,0,0)',plot_bgcolor:'rgba(0,0,0,0)',margin:{l:58,r:12,t:12,b:58},
    legend:{orientation:'h',y:-0.24,x:0,traceorder:'normal'},font:{family:'system-ui,sans-serif',size:13},autosize:true},chart.layout);
  Plotly.newPlot(chart.key,chart.data,layout,{responsive:true,displayModeBar:false,displaylogo:false,plotlyServerURL:''}).then(function(){
      return Plotly.relayout(chart.key,Object.assign(colours(false),place()));
    }).then(function(){document.getElementById(chart.key).dataset.drawn='yes';});
});
function repaint(paper){
  charts.forEach(function(chart){Plotly.relayout(chart.key,Object.assign(colours(paper),place()));});
}
dark.addEventListener('change',function(){repaint(false);});
window.addEventListener('beforeprint',function(){repaint(true);});
window.addEventListener('afterprint',function(){repaint(false);});
document.querySelectorAll('table.sortable thead button').forEach(function(button){
  button.addEventListener('click',function(){
    var head=button.parentElement,table=head.closest('table'),body=table.tBodies[0];
    var column=Array.prototype.indexOf.call(head.parentElement.children,head);
    var up=head.getAttribute('aria-sort')!=='ascending';
    table.querySelectorAll('th').forEach(function(th){th.removeAttribute('aria-sort');});
    head.setAttribute('aria-sort',up?'ascending':'descending');
    function key(row){var cell=row.children[column];return cell.dataset.value===undefined?cell.textContent:
      cell.dataset.value===''?null:parseFloat(cell.dataset.value);}
    Array.from(body.rows).map(function(row,index){return [key(row),index,row];}).sort(function(a,b){
      if(a[0]===null||b[0]===null){return (a[0]===null)-(b[0]===null)||a[1]-b[1];}
      var order=a[0]<b[0]?-1:a[0]>b[0]?1:0;return (up?order:-order)||a[1]-b[1];
    }).forEach(function(entry){body.appendChild(entry[2]);});
  });
});
var tip=document.getElementById('tip'),gpus=Array.from(document.querySelectorAll('.tp-topology g[data-tip]'));
function show(gpu){
  var box=gpu.getBoundingClientRect();tip.textContent=gpu.dataset.tip;tip.style.display='block';
  tip.style.left=Math.max(4,Math.min(box.left,window.innerWidth-tip.offsetWidth-8))+'px';
  tip.style.top=(box.bottom+tip.offsetHeight+8<window.innerHeight?box.bottom+6:Math.max(4,box.top-tip.offsetHeight-6))+'px';
}
function hide(){tip.style.display='none';}
gpus.forEach(function(gpu,index){
  var title=gpu.querySelector('title');if(title){title.remove();}
  gpu.setAttribute('tabindex',index?'-1':'0');
  gpu.addEventListener('mouseenter',function(){show(gpu);});gpu.addEventListener('mouseleave',hide);
  gpu.addEventListener('focus',function(){show(gpu);});gpu.addEventListener('blur',hide);
  gpu.addEventListener('keydown',function(event){
    var step={ArrowRight:1,ArrowDown:1,ArrowLeft:-1,ArrowUp:-1}[event.key];
    if(event.key==='Escape'){hide();}
    if(step&&gpus[index+step]){event.preventDefault();gpu.setAttribute('tabindex','-1');
      gpus[index+step].setAttribute('tabindex','0');gpus[index+step].focus();}
  });
});
window.addEventListener('scroll',hide,{passive:true});
})();
"""
